//! Passwords: what they must be, and that they are wiped and never shown.
//! Where they come from is the command line's business.

use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// Fewest characters of a password that someone chooses.
pub const MIN_CHARACTERS: usize = 8;

/// A password in Unicode form NFKD, so that every keyboard types the same one.
pub struct Password {
    text: Zeroizing<String>,
    /// As typed: the normal form of one character can be several.
    characters: usize,
}

impl Password {
    /// From what was typed.
    pub fn new(typed: &str) -> Password {
        let mut text = Cow::Borrowed(typed);
        bip39::Mnemonic::normalize_utf8_cow(&mut text);
        Password { text: Zeroizing::new(text.into_owned()), characters: typed.chars().count() }
    }

    /// No password: whoever has the file has the keys.
    pub fn none() -> Password {
        Password::new("")
    }

    /// Whether it may protect a new wallet.
    pub fn check(&self) -> Result<(), WeakPassword> {
        match self.characters {
            MIN_CHARACTERS.. => Ok(()),
            _ => Err(WeakPassword),
        }
    }

    /// The bytes that a key is derived from.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The password is shorter than `MIN_CHARACTERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password of a wallet has at least {MIN_CHARACTERS} characters: choose a longer one")]
pub struct WeakPassword;

#[cfg(test)]
mod tests {
    use super::*;

    // W01
    #[test]
    fn short_passwords_are_weak() {
        for weak in ["", "1234567", "pässwör"] {
            assert_eq!(Password::new(weak).check(), Err(WeakPassword), "{weak}");
        }
        assert_eq!(Password::new("12345678").check(), Ok(()));
    }

    #[test]
    fn one_password_has_one_form() {
        assert_eq!(Password::new("caf\u{e9}").as_bytes(), Password::new("cafe\u{301}").as_bytes());
    }

    // W06
    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", Password::new("hunter2hunter2")), "Password(…)");
    }
}
