//! Public test vectors: ASERT, Ed25519 under ZIP-215, Bitcoin headers and bech32m. Their sources
//! are in
//! `vectors/README.md` and above the tables in this file.

use bech32::Bech32m;
use bech32::primitives::decode::CheckedHrpstring;
use chain::address::ParseAddressError;
use chain::difficulty::asert;
use chain::signature::{PublicKey, SecretKey, Signature, SignatureCheck, verify_all};
use chain::{Address, Bits, Header, Work};

fn bits(text: &str) -> Bits {
    text.parse().expect("a vector's bits are 8 digits")
}

fn number(text: &str) -> i128 {
    text.parse().expect("a vector's heights and times are whole numbers")
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.trim_matches('-')).expect("a vector's bytes are hexadecimal")
}

// C12, C14
#[test]
fn asert_runs_1_to_12() {
    let target = |text| bits(text).target().unwrap();
    let limit = target("1d00ffff");
    let (mut runs, mut rows) = (0, 0);
    let mut anchor = (0, 0, limit);
    for line in include_str!("vectors/aserti3-2d.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["run", run, height, parent_time, bits] => {
                runs += 1;
                assert_eq!(number(run), runs);
                anchor = (number(height), number(parent_time), target(bits));
            }
            [height, time, expected] => {
                rows += 1;
                let (time_delta, height_delta) =
                    (number(time) - anchor.1, number(height) - anchor.0);
                let next = asert(anchor.2, time_delta, height_delta, 600, 172_800, limit);
                assert_eq!(next.bits(), bits(expected), "run {runs}: {line}");
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!((runs, rows), (12, 134));
}

/// A test vector of Ed25519, and whether its signature is valid under ZIP-215.
struct Case {
    key: PublicKey,
    message: Vec<u8>,
    /// The signature, which may have another length than 64 bytes.
    signature: Vec<u8>,
    valid: bool,
}

impl Case {
    /// Returns the signature to verify, or `None` if it does not have 64 bytes.
    fn signature_check(&self) -> Option<SignatureCheck> {
        let signature = Signature::from_bytes(self.signature.as_slice().try_into().ok()?);
        Some(SignatureCheck { key: self.key, message: self.message.clone(), signature })
    }
}

fn key(text: &str) -> PublicKey {
    PublicKey::from_bytes(bytes(text).try_into().expect("a vector's key has 32 bytes"))
}

/// Every pair of the 14 encodings of points of small order as key and as R, with s = 0: seven
/// y-coordinates (0, 1, −1, the two of order 8, and p and p + 1 for 0 and 1), each with both signs.
/// Source: ZIP 215 and its test vectors, message "Zcash".
fn small_order() -> Vec<Case> {
    let y = |byte: &str, last: &str| format!("{byte}{}{last}", "ff".repeat(30));
    let encodings: Vec<[u8; 32]> = [
        "00".repeat(32),
        format!("01{}", "00".repeat(31)),
        y("ec", "7f"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".into(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".into(),
        y("ed", "7f"),
        y("ee", "7f"),
    ]
    .iter()
    .flat_map(|text| {
        let positive = *key(text).as_bytes();
        let mut negative = positive;
        negative[31] |= 0x80;
        [positive, negative]
    })
    .collect();
    let case = |key: [u8; 32], r: [u8; 32]| Case {
        key: PublicKey::from_bytes(key),
        message: b"Zcash".to_vec(),
        signature: [r, [0; 32]].concat(),
        valid: true,
    };
    encodings.iter().flat_map(|key| encodings.iter().map(|r| case(*key, *r))).collect()
}

fn wycheproof() -> Vec<Case> {
    let mut signer = None;
    let mut cases = Vec::new();
    for line in include_str!("vectors/wycheproof-ed25519.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["key", text] => signer = Some(key(text)),
            [number, message, signature, result] => cases.push(Case {
                key: signer.expect("the first line is a key"),
                message: bytes(message),
                signature: bytes(signature),
                // R of number 151 is the identity with the sign bit set: another encoding of it.
                valid: result == "valid" || number == "151",
            }),
            _ => panic!("{line}"),
        }
    }
    cases
}

// C31, C32
#[test]
fn small_order_signatures_are_valid() {
    let cases = small_order();
    assert_eq!(cases.len(), 196);
    for case in &cases {
        let SignatureCheck { key, message, signature } = case.signature_check().unwrap();
        assert!(key.verify(&message, &signature), "{key:?} {signature:?}");
        assert!(!key.verify(&message, &Signature::from_bytes([0xff; 64])), "{key:?}");
    }
}

// C31, C32
#[test]
fn wycheproof_vectors_under_zip_215() {
    let cases = wycheproof();
    let valid = cases.iter().filter(|case| case.valid).count();
    assert_eq!((cases.len(), valid), (151, 89));
    for (number, case) in (1..).zip(&cases) {
        let accepted = case
            .signature_check()
            .is_some_and(|check| check.key.verify(&check.message, &check.signature));
        assert_eq!(accepted, case.valid, "{number}");
    }
}

// C31, C32
#[test]
fn batches_agree_with_single_verification() {
    let signer = SecretKey::from_seed([5; 32]);
    let sound = SignatureCheck {
        key: signer.public_key(),
        message: b"sound".to_vec(),
        signature: signer.sign(b"sound"),
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for case in small_order().into_iter().chain(wycheproof()) {
        let Some(check) = case.signature_check() else { continue };
        let batch = [sound.clone(), check.clone(), sound.clone()];
        let expected = if case.valid { Ok(()) } else { Err(1) };
        assert_eq!(verify_all(&batch, 1), expected, "{check:?}");
        if case.valid { good.push(check) } else { bad.push(check) }
    }
    assert_eq!(verify_all(&good, 2), Ok(()));
    for claim in bad {
        let claims = [good.as_slice(), &[claim]].concat();
        assert_eq!(verify_all(&claims, 2), Err(good.len()));
    }
}

// C13
#[test]
fn testnet3_headers_are_linked_and_meet_their_targets() {
    let headers: Vec<Header> = include_str!("vectors/testnet3-headers.txt")
        .lines()
        .map(|line| {
            let header = Header::decode(&bytes(line)).unwrap();
            assert_eq!(hex::encode(header.encode()), line);
            header
        })
        .collect();
    assert_eq!(headers.len(), 32);
    // Genesis and block 1 of testnet3.
    let genesis = "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943";
    let first = "00000000b873e79784647a6c82962c70d228557d24a747ea4d1b8bbe878e1206";
    assert_eq!(headers[0].previous.to_string(), genesis);
    assert_eq!(headers[0].hash().to_string(), first);
    let mut work = Work::ZERO;
    let mut previous = headers[0].previous;
    for header in headers {
        assert_eq!(header.previous, previous);
        previous = header.hash();
        let target = header.bits.target().unwrap();
        assert!(target.is_met_by(previous.as_bytes()));
        work = work.saturating_add(target.work());

        let other = Header { nonce: header.nonce.wrapping_add(1), ..header };
        assert!(!target.is_met_by(other.hash().as_bytes()));
    }
    // 32 times the 4,295,032,833 hashes of difficulty 1.
    assert_eq!(work.to_string(), format!("{:064x}", 32 * 4_295_032_833_u64));
}

// BIP 350, "Test vectors for Bech32m".
#[test]
fn bech32m_strings_of_bip_350() {
    for text in [
        "A1LQFN3A",
        "a1lqfn3a",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
        "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
        "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
        "?1v759aa",
    ] {
        assert!(CheckedHrpstring::new::<Bech32m>(text).is_ok(), "{text}");
        // The checksum is valid, but the text is not an address.
        let error = Address::decode(text).unwrap_err();
        assert_ne!(error, ParseAddressError::Checksum, "{text}");
    }
    for text in [
        "\u{20}1xj0phk",
        "\u{7f}1g6xzxy",
        "\u{80}1vctc34",
        "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
        "qyrz8wqd2c9m",
        "1qyrz8wqd2c9m",
        "y1b0jsk6g",
        "lt1igcx5c0",
        "in1muywd",
        "mm1crxm3i",
        "au1s5cgom",
        "M1VUXWEZ",
        "16plkw9",
        "1p2gdwpf",
    ] {
        assert_eq!(Address::decode(text), Err(ParseAddressError::Checksum), "{text:?}");
    }
}

// BIP 350, "Test vectors for v0-v16 native segregated witness addresses". W09
#[test]
fn rejects_bitcoin_addresses() {
    use ParseAddressError::{Checksum, Version};
    for (text, error) in [
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", Checksum),
        ("tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7", Checksum),
        ("bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y", Version),
        ("BC1SW50QGDZ25J", Version),
        ("bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", Version),
        ("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", Version),
    ] {
        assert_eq!(Address::decode(text), Err(error), "{text}");
    }
}
