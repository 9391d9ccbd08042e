//! Mnemonics, from which all keys of a wallet are derived. English words and an empty passphrase only;
//! wiped from memory when dropped, not shown by `Debug`. Source: BIP 39, implemented by the `bip39`
//! crate.

use std::fmt;
use zeroize::Zeroizing;

/// A mnemonic with valid words and checksum.
#[derive(Clone, PartialEq, Eq)]
pub struct Mnemonic(bip39::Mnemonic);

/// The number of words of a new mnemonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Length {
    /// 128 random bits: as strong as the derived Ed25519 keys.
    #[value(name = "12")]
    Twelve,
    /// 256 random bits.
    #[value(name = "24")]
    TwentyFour,
}

/// Why a text is not a mnemonic. Does not repeat words, which may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MnemonicError {
    /// Not 12, 15, 18, 21 or 24 words.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words, this text has {found}")]
    WordCount {
        /// The number of words.
        found: usize,
    },
    /// A word that is not in the list.
    #[error(
        "word {position} of the mnemonic is not in the English BIP 39 list: check its spelling"
    )]
    UnknownWord {
        /// The position of the word, from 1.
        position: usize,
    },
    /// The checksum does not match the words.
    #[error("the checksum of the mnemonic is wrong: check every word and their order")]
    Checksum,
}

impl Mnemonic {
    /// Generates a mnemonic. `random` fills the slice with random bytes (`getrandom::fill`).
    pub fn generate(
        length: Length,
        random: impl FnOnce(&mut [u8]) -> Result<(), getrandom::Error>,
    ) -> Result<Mnemonic, getrandom::Error> {
        let mut entropy = Zeroizing::new([0; 32]);
        let entropy = match length {
            Length::Twelve => &mut entropy[..16],
            Length::TwentyFour => &mut entropy[..],
        };
        random(entropy)?;
        Ok(Mnemonic(bip39::Mnemonic::from_entropy(entropy).expect("16 and 32 bytes are standard")))
    }

    /// Parses words separated by white space, in any case and Unicode form.
    pub fn parse(text: &str) -> Result<Mnemonic, MnemonicError> {
        let lower_case = Zeroizing::new(text.to_lowercase());
        let parsed = bip39::Mnemonic::parse_in(bip39::Language::English, lower_case.as_str());
        parsed.map(Mnemonic).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => {
                MnemonicError::UnknownWord { position: index.saturating_add(1) }
            }
            bip39::Error::InvalidChecksum => MnemonicError::Checksum,
            _ => MnemonicError::WordCount { found: lower_case.split_whitespace().count() },
        })
    }

    pub fn word_count(&self) -> usize {
        self.0.word_count()
    }

    /// The words, separated by single spaces.
    pub fn phrase(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string())
    }

    /// The 64-byte seed, with an empty passphrase.
    pub fn seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.to_seed_normalized(""))
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mnemonic(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    // W04
    #[test]
    fn matches_the_public_vectors() {
        let lines: Vec<&str> = include_str!("vectors/bip39.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let (vectors, rest) = lines.as_chunks::<3>();
        assert_eq!((vectors.len(), rest.len()), (24, 0));
        for [entropy, words, seed] in vectors {
            let mnemonic = Mnemonic::parse(words).unwrap();
            assert_eq!(hex::encode(mnemonic.0.to_entropy()), *entropy);
            assert_eq!(hex::encode(mnemonic.0.to_seed("TREZOR")), *seed, "{words}");
            let length = match entropy.len() {
                32 => Length::Twelve,
                64 => Length::TwentyFour,
                _ => continue,
            };
            let fill = |bytes: &mut [u8]| {
                hex::decode_to_slice(entropy, bytes).unwrap();
                Ok(())
            };
            assert_eq!(*Mnemonic::generate(length, fill).unwrap().phrase(), *words);
        }
    }

    // W04
    #[test]
    fn distinguishes_wrong_words_counts_and_checksums() {
        let error = |text: &str| Mnemonic::parse(text).unwrap_err();
        let eleven = PUBLIC.rsplit_once(' ').unwrap().0;
        assert_eq!(error(eleven), MnemonicError::WordCount { found: 11 });
        assert_eq!(error(&format!("{PUBLIC} legal")), MnemonicError::WordCount { found: 13 });
        assert_eq!(error(""), MnemonicError::WordCount { found: 0 });
        let long = "legal ".repeat(100_000);
        assert_eq!(error(&long), MnemonicError::WordCount { found: 100_000 });
        assert_eq!(
            error(&PUBLIC.replace("year", "yeear")),
            MnemonicError::UnknownWord { position: 4 }
        );
        assert_eq!(error(&PUBLIC.replace("yellow", "year")), MnemonicError::Checksum);
        assert_eq!(error(&"zoo ".repeat(12)), MnemonicError::Checksum);
    }

    // W04: NFKD turns full-width letters into ASCII letters.
    #[test]
    fn ignores_case_white_space_and_unicode_form() {
        let expected = Mnemonic::parse(PUBLIC).unwrap();
        let wide: String = PUBLIC
            .chars()
            .map(|c| match c {
                ' ' => '\u{3000}',
                letter => char::from_u32(u32::from(letter) - 0x61 + 0xff41).unwrap(),
            })
            .collect();
        let spaced = format!("\n\t{}\r\n", PUBLIC.replace(' ', "  \n"));
        for text in [wide, spaced, PUBLIC.to_uppercase()] {
            assert_eq!(Mnemonic::parse(&text).as_ref(), Ok(&expected), "{text}");
        }
    }

    // W11
    #[test]
    fn fails_without_random_bytes() {
        let broken = |_: &mut [u8]| Err(getrandom::Error::UNSUPPORTED);
        assert_eq!(Mnemonic::generate(Length::Twelve, broken), Err(getrandom::Error::UNSUPPORTED));
    }

    #[test]
    fn new_mnemonics_differ() {
        let new = || Mnemonic::generate(Length::TwentyFour, getrandom::fill).unwrap();
        assert_ne!(new(), new());
        assert_eq!(new().word_count(), 24);
    }

    // W06
    #[test]
    fn debug_hides_the_words() {
        assert_eq!(format!("{:?}", Mnemonic::parse(PUBLIC).unwrap()), "Mnemonic(…)");
    }
}
