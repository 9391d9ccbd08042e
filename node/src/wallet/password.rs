//! Wallet passwords: normalized, wiped from memory when dropped, not shown by `Debug`.

use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// Minimum length of a password.
pub const MIN_CHARACTERS: usize = 8;

/// A password in Unicode form NFKD, so that every keyboard types the same one.
pub struct Password {
    text: Zeroizing<String>,
    /// The number of characters as typed: one may become several in normal form.
    characters: usize,
}

impl Password {
    /// Normalizes a typed password.
    pub fn new(typed: &str) -> Password {
        let mut text = Cow::Borrowed(typed);
        bip39::Mnemonic::normalize_utf8_cow(&mut text);
        Password { text: Zeroizing::new(text.into_owned()), characters: typed.chars().count() }
    }

    /// The empty password, of wallets without one.
    pub fn none() -> Password {
        Password::new("")
    }

    /// Checks that the password is long enough for a new wallet.
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
#[error("the password of a wallet needs at least {MIN_CHARACTERS} characters")]
pub struct WeakPassword;

#[cfg(test)]
mod tests {
    use super::*;

    // W01
    #[test]
    fn rejects_short_passwords() {
        for weak in ["", "1234567", "pässwör"] {
            assert_eq!(Password::new(weak).check(), Err(WeakPassword), "{weak}");
        }
        assert_eq!(Password::new("12345678").check(), Ok(()));
    }

    #[test]
    fn normalizes_unicode() {
        assert_eq!(Password::new("caf\u{e9}").as_bytes(), Password::new("cafe\u{301}").as_bytes());
    }

    // W06
    #[test]
    fn debug_hides_the_password() {
        assert_eq!(format!("{:?}", Password::new("hunter2hunter2")), "Password(…)");
    }
}
