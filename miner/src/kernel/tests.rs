//! The results of every available kernel, compared with the `sha2` crate.

use super::*;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// The double SHA-256 of a header by the `sha2` crate, most significant byte first.
fn reference_hash(header: &Header) -> [u8; 32] {
    let mut digest: [u8; 32] = Sha256::digest(Sha256::digest(header.encode())).into();
    digest.reverse();
    digest
}

fn scan(kernel: Kernel, work: &Work, roll: u16, nonces: RangeInclusive<u32>) -> Vec<u32> {
    let mut found = Vec::new();
    kernel.scan(&work.prepare(roll), nonces, &mut found);
    found
}

// Heights 0 and 1 of Bitcoin's main network and height 0 of its third test network.
#[test]
fn finds_the_nonces_of_bitcoin_genesis_headers() {
    for (previous, merkle_root, time, nonce) in [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            1_231_006_505,
            2_083_236_893,
        ),
        (
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098",
            1_231_469_665,
            2_573_394_689,
        ),
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            1_296_688_602,
            414_098_458,
        ),
    ] {
        let bits = Bits::new(0x1d00_ffff);
        let header = Header {
            version: 1,
            previous: previous.parse().unwrap(),
            merkle_root: merkle_root.parse().unwrap(),
            time: Timestamp::new(time),
            bits,
            nonce: 0,
        };
        let work = Work::new(0, header, bits.target().unwrap());
        for kernel in Kernel::available() {
            let found = scan(kernel, &work, 0, nonce - 3_000..=nonce + 5_000);
            assert_eq!(found, [nonce], "{kernel}");
        }
    }
}

// Incomplete groups, single nonces, and ranges at both ends of the nonce space.
#[test]
fn scans_exactly_the_requested_nonces() {
    let any_hash = trial_work([0xff; 32]);
    for kernel in Kernel::available() {
        for length in 1..=70 {
            for first in [0, 1, 0x00ff_fff8, 0x7fff_ffff, u32::MAX - 80, u32::MAX - (length - 1)] {
                let nonces = first..=first + (length - 1);
                let expected: Vec<u32> = nonces.clone().collect();
                assert_eq!(scan(kernel, &any_hash, 7, nonces), expected, "{kernel}");
            }
        }
    }
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "an empty range is what is tested")]
fn empty_range_has_no_candidates() {
    let any_hash = trial_work([0xff; 32]);
    for kernel in Kernel::available() {
        for nonces in [1..=0, 17..=0, u32::MAX..=0, u32::MAX..=u32::MAX - 1] {
            assert_eq!(scan(kernel, &any_hash, 0, nonces), [0_u32; 0], "{kernel}");
        }
    }
}

#[test]
fn appends_to_existing_candidates() {
    let any_hash = trial_work([0xff; 32]);
    for kernel in Kernel::available() {
        let mut found = vec![9];
        kernel.scan(&any_hash.prepare(0), 3..=4, &mut found);
        assert_eq!(found, [9, 3, 4], "{kernel}");
    }
}

#[test]
fn names_are_unique_and_parse_to_available_kernels() {
    for &kernel in Kernel::ALL {
        let unknown = UnknownKernel { name: kernel.name().to_owned() };
        let expected = if kernel.is_available() { Ok(kernel) } else { Err(unknown) };
        assert_eq!(kernel.name().parse(), expected);
    }
    let available: Vec<&str> = Kernel::available().map(Kernel::name).collect();
    assert!(available.starts_with(&["scalar"]) && available.contains(&"compression"));
    assert_eq!(
        "gpu".parse::<Kernel>().unwrap_err().to_string(),
        format!("no kernel `gpu` on this CPU; available: {}", available.join(", "))
    );
}

// G07
#[test]
fn selects_the_fastest_kernel_that_passes_its_self_test() {
    assert!(Kernel::available().all(Kernel::passes_self_test));
    assert!(Kernel::fastest().passes_self_test());
    assert_eq!(Trial::run(&[], |_| Duration::ZERO).fastest, Kernel::Scalar);
}

// A trial in one piece saw only the load of the machine: `compression` was taken at half the speed.
#[test]
fn trial_under_load_selects_the_fastest_kernel() {
    let kernels = [Kernel::Scalar, Kernel::Compression, Kernel::ShaNi, Kernel::Avx2];
    let mut slices = 0;
    let mut since_interruption = Duration::ZERO;
    let trial = Trial::run(&kernels, |kernel| {
        slices += 1;
        let own = Duration::from_micros(match kernel {
            Kernel::Scalar => 500,
            Kernel::Compression => 120,
            Kernel::ShaNi => 70,
            _ => 75,
        });
        since_interruption += own;
        if since_interruption < Duration::from_millis(1) {
            return own;
        }
        // Other programs run for 12 ms after each millisecond.
        since_interruption = Duration::ZERO;
        own + Duration::from_millis(12)
    });
    assert_eq!(trial, Trial { fastest: Kernel::ShaNi, slow: Vec::new() });
    assert!(slices <= 4 * 64, "{slices}");
}

// The kernels with SHA instructions were a hundred times too slow on some CPUs.
#[test]
fn trial_reports_a_kernel_that_is_much_slower_than_its_width_suggests() {
    let kernels = [Kernel::Scalar, Kernel::ShaNi, Kernel::Avx2];
    let mut of_slow = 0;
    let trial = Trial::run(&kernels, |kernel| match kernel {
        Kernel::Scalar => Duration::from_micros(500),
        Kernel::Avx2 => Duration::from_micros(85),
        _ => {
            of_slow += 1;
            Duration::from_millis(5)
        }
    });
    assert_eq!(trial, Trial { fastest: Kernel::Avx2, slow: vec![Kernel::ShaNi] });
    assert!(of_slow <= Trial::FIRST_SLICES, "it costs the start {of_slow} slices");
}

/// A first nonce anywhere in the nonce space, or near either end.
fn first_nonce() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), 0..2_000_u32, u32::MAX - 2_000..=u32::MAX]
}

proptest! {
    // A million headers in total.
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // G07
    #[test]
    fn every_kernel_agrees_with_sha2(
        bytes: [u8; Header::BYTES],
        first in first_nonce(),
        more in 0..=1_000_u32,
        leading: u32,
        roll: u16,
    ) {
        let header = Header::decode(&bytes).unwrap();
        let mut target = [0xff; 32];
        target[..4].copy_from_slice(&leading.to_be_bytes());
        let target = Target::from_be_bytes(target).unwrap();
        let work = Work::new(0, header, target);
        let nonces = first..=first.saturating_add(more);
        let expected: Vec<u32> = nonces
            .clone()
            .filter(|&nonce| reference_hash(&work.header(roll, nonce)) <= target.to_be_bytes())
            .collect();
        for kernel in Kernel::available() {
            prop_assert_eq!(&scan(kernel, &work, roll, nonces.clone()), &expected, "{}", kernel);
        }
    }
}

/// The functions of this program whose demangled names contain a text, in the syntax of AT&T; `None`
/// without a disassembler.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn disassemble(name: &str) -> Option<Vec<String>> {
    let program = std::env::current_exe().unwrap();
    let options = ["--disassemble", "--no-show-raw-insn", "--demangle"];
    let disassembly = std::process::Command::new("objdump").args(options).arg(program).output();
    let Ok(disassembly) = disassembly else {
        assert!(std::env::var_os("CHAIN_TESTS_REQUIRE_ALL").is_none(), "objdump is missing");
        return None;
    };
    let text = String::from_utf8(disassembly.stdout).unwrap();
    let is_header = |line: &str| line.ends_with(">:") && line.contains(name);
    let is_named = |function: &&str| function.lines().any(is_header);
    Some(text.split("\n\n").filter(is_named).map(str::to_owned).collect())
}

/// The instructions of a disassembled function.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn instructions(function: &str) -> impl Iterator<Item = &str> {
    function.lines().filter_map(|line| {
        let (_, instruction) = line.split_once(":\t")?;
        instruction.split('#').next().map(str::trim)
    })
}

// On CPUs of Intel, each SHA instruction that follows a write of a 256-bit register without
// `vzeroupper` takes some 500 cycles.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn vzeroupper_is_between_wide_vectors_and_sha_instructions() {
    let Some(functions) = disassemble("kernel::sha_ni::") else { return };
    let mut kernels = 0;
    for function in functions.iter().filter(|it| it.contains("sha256rnds2")) {
        kernels += 1;
        let mut wide_write = None;
        // Twice, since the end of the loop precedes its start.
        for instruction in instructions(function).chain(instructions(function)) {
            let destination = instruction.rsplit([',', ' ']).next().unwrap();
            if instruction.starts_with("vzeroupper") {
                wide_write = None;
            } else if destination.starts_with("%ymm") || destination.starts_with("%zmm") {
                wide_write = Some(instruction);
            } else if instruction.starts_with("sha256") {
                assert_eq!(wide_write, None, "no vzeroupper before {instruction}");
            }
        }
    }
    assert_eq!(kernels, 2, "the kernels with AVX2 and with AVX-512");
}

// The bound of a kernel is that of the code as compiled.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn operations_of_kernels_are_those_of_their_code() {
    let shifts = ["vpsll", "vpsrl", "vprol", "vpror"];
    let others = [
        "vpadd",
        "vpand",
        "vpor",
        "vpxor",
        "vpternlog",
        "vpshuf",
        "vpunpck",
        "vpblend",
        "vpmax",
        "vpcmp",
    ];
    for (kernel, name) in [
        (Kernel::ShaNi, "sha_ni::with_avx2::scan_groups"),
        (Kernel::ShaNiAvx512, "sha_ni::with_avx512::scan_groups"),
        (Kernel::Avx2, "kernel::avx2::scan_groups"),
        (Kernel::Avx512, "kernel::avx512::scan_groups"),
    ] {
        let Some(functions) = disassemble(name) else { return };
        let [function] = &functions[..] else { panic!("{name} is compiled once") };
        let count = |names: &[&str]| {
            let is_counted = |it: &&str| names.iter().any(|name| it.starts_with(name));
            u32::try_from(instructions(function).filter(is_counted).count()).unwrap()
        };
        for &(operation, expected) in kernel.operations().unwrap().operations {
            let counted = match operation {
                Operation::Vector256 | Operation::Vector512 => count(&shifts) + count(&others),
                Operation::Shift256 | Operation::Shift512 => count(&shifts),
                Operation::ShaRounds => count(&["sha256rnds2"]),
            };
            // What stands outside of the loop is little, and compilers differ little.
            let is_close = counted.abs_diff(expected) <= expected / 30;
            assert!(is_close, "{kernel}, {operation:?}: {counted}, not {expected}");
        }
    }
}
