//! The encoding of a status. It is the same in all versions of the protocol: later ones add
//! extensions.

use super::encoding::{WireError, check_limit};
use crate::message::{Capabilities, MAX_EXTENSIONS, Status};
use chain::block::{self, Height};
use chain::codec::Decoder;
use chain::pow::Work;

pub(super) fn write_status(bytes: &mut Vec<u8>, status: &Status) {
    write_capabilities(bytes, status.capabilities);
    bytes.extend_from_slice(status.genesis.as_bytes());
    bytes.extend_from_slice(status.tip.as_bytes());
    bytes.extend_from_slice(&status.height.get().to_le_bytes());
    bytes.extend_from_slice(&status.chain_work.to_le_bytes());
    bytes.push(u8::from(status.relay));
    bytes.extend_from_slice(&status.clock.to_le_bytes());
    bytes.extend_from_slice(&status.nonce.to_le_bytes());
    // The length of the extensions. This version defines none.
    bytes.extend_from_slice(&0_u16.to_le_bytes());
}

pub(super) fn read_status(input: &mut Decoder) -> Result<Status, WireError> {
    let status = Status {
        capabilities: read_capabilities(input)?,
        genesis: block::Hash::from_bytes(input.array()?),
        tip: block::Hash::from_bytes(input.array()?),
        height: Height::new(input.u32()?),
        chain_work: Work::from_le_bytes(input.array()?),
        relay: match input.u8()? {
            0 => false,
            1 => true,
            value => return Err(WireError::Unknown { what: "relay flag", value }),
        },
        clock: input.u64()?,
        nonce: input.u64()?,
    };
    skip_extensions(input)?;
    Ok(status)
}

/// Checks that the extensions are well-formed: each is a type, a length and a value, and the types
/// ascend. No type is known.
fn skip_extensions(input: &mut Decoder) -> Result<(), WireError> {
    let length = read_u16(input)?;
    check_limit(length.into(), "bytes of extensions", MAX_EXTENSIONS)?;
    let mut extensions = Decoder::new(input.bytes(length.into())?);
    let mut last = None;
    while extensions.remaining() > 0 {
        let kind = read_u16(&mut extensions)?;
        if last.is_some_and(|last| kind <= last) {
            return Err(WireError::NotAscending { what: "types of extensions" });
        }
        last = Some(kind);
        let length = read_u16(&mut extensions)?;
        extensions.bytes(length.into())?;
    }
    Ok(())
}

pub(super) fn write_capabilities(bytes: &mut Vec<u8>, capabilities: Capabilities) {
    let Capabilities { min_version, max_version, features } = capabilities;
    bytes.extend_from_slice(&min_version.to_le_bytes());
    bytes.extend_from_slice(&max_version.to_le_bytes());
    bytes.extend_from_slice(&features.to_le_bytes());
}

pub(super) fn read_capabilities(input: &mut Decoder) -> Result<Capabilities, WireError> {
    Ok(Capabilities {
        min_version: read_u16(input)?,
        max_version: read_u16(input)?,
        features: input.u64()?,
    })
}

fn read_u16(input: &mut Decoder) -> Result<u16, WireError> {
    Ok(u16::from_le_bytes(input.array()?))
}
