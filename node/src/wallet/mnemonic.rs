//! Mnemonics: the words people write down, from which every key of a wallet is derived.
//! English words and an empty passphrase only; wiped when dropped, never shown by `Debug`.
//! Source: BIP 39; its word list and checksum are the `bip39` crate's.

use std::fmt;
use zeroize::Zeroizing;

/// A mnemonic whose words and checksum are right.
#[derive(Clone, PartialEq, Eq)]
pub struct Mnemonic(bip39::Mnemonic);

/// How many words a new mnemonic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Length {
    /// 128 random bits: as strong as the Ed25519 keys made from them.
    #[value(name = "12")]
    Twelve,
    /// 256 random bits.
    #[value(name = "24")]
    TwentyFour,
}

/// Why a text is not a mnemonic. Never repeats the words: they are secret, or nearly so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MnemonicError {
    /// Not 12, 15, 18, 21 or 24 words.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words, this text has {found}")]
    WordCount {
        /// How many there are.
        found: usize,
    },
    /// A word outside the list.
    #[error(
        "word {position} of the mnemonic is not in the English BIP 39 list: check its spelling"
    )]
    UnknownWord {
        /// Which one, counted from 1.
        position: usize,
    },
    /// Every word is known, but not these together.
    #[error("the checksum of the mnemonic is wrong: check every word and their order")]
    Checksum,
}

impl Mnemonic {
    /// A new mnemonic. `random` fills the slice with unpredictable bytes (`getrandom::fill`); its
    /// error is returned and no mnemonic made.
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

    /// Reads words separated by white space, in upper or lower case and any Unicode form.
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

    /// How many words it has.
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
    fn the_public_vectors_hold() {
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
    fn wrong_words_counts_and_checksums_are_told_apart() {
        let refused = |text: &str| Mnemonic::parse(text).unwrap_err();
        let eleven = PUBLIC.rsplit_once(' ').unwrap().0;
        assert_eq!(refused(eleven), MnemonicError::WordCount { found: 11 });
        assert_eq!(refused(&format!("{PUBLIC} legal")), MnemonicError::WordCount { found: 13 });
        assert_eq!(refused(""), MnemonicError::WordCount { found: 0 });
        let long = "legal ".repeat(100_000);
        assert_eq!(refused(&long), MnemonicError::WordCount { found: 100_000 });
        assert_eq!(
            refused(&PUBLIC.replace("year", "yeear")),
            MnemonicError::UnknownWord { position: 4 }
        );
        assert_eq!(refused(&PUBLIC.replace("yellow", "year")), MnemonicError::Checksum);
        assert_eq!(refused(&"zoo ".repeat(12)), MnemonicError::Checksum);
    }

    // W04: full-width letters are letters in compatibility form; NFKD makes them plain.
    #[test]
    fn case_white_space_and_unicode_form_do_not_matter() {
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
    fn no_mnemonic_without_randomness() {
        let broken = |_: &mut [u8]| Err(getrandom::Error::UNSUPPORTED);
        assert_eq!(Mnemonic::generate(Length::Twelve, broken), Err(getrandom::Error::UNSUPPORTED));
    }

    #[test]
    fn two_new_mnemonics_differ() {
        let new = || Mnemonic::generate(Length::TwentyFour, getrandom::fill).unwrap();
        assert_ne!(new(), new());
        assert_eq!(new().word_count(), 24);
    }

    // W06
    #[test]
    fn a_mnemonic_is_never_shown() {
        assert_eq!(format!("{:?}", Mnemonic::parse(PUBLIC).unwrap()), "Mnemonic(…)");
    }
}
