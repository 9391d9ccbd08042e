//! Amounts of money, in base units: whole numbers that every JSON parser represents exactly.
//! 1 coin = 100,000,000 base units. All arithmetic is checked; amounts have no operators.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;

/// The number of base units in one coin.
pub const COIN: u64 = 100_000_000;

/// The largest integer that every JSON parser represents exactly, 2^53 − 1.
const MAX_UNITS: u64 = (1 << 53) - 1;

/// An amount of 0 to 2^53 − 1 base units.
///
/// ```
/// use chain::Amount;
///
/// let amount = Amount::from_coins("1.5")?;
/// assert_eq!(amount.units(), 150_000_000);
/// assert_eq!(amount.to_string(), "1.5");
/// assert_eq!(amount.checked_sub(Amount::MAX), None);
/// # Ok::<(), chain::amount::ParseCoinsError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

impl Amount {
    /// The amount of zero base units.
    pub const ZERO: Amount = Amount(0);
    /// The largest amount, 2^53 − 1 base units.
    pub const MAX: Amount = Amount(MAX_UNITS);

    /// Returns the amount of a number of base units, or `None` above [`Amount::MAX`].
    pub const fn new(units: u64) -> Option<Amount> {
        if units <= MAX_UNITS { Some(Amount(units)) } else { None }
    }

    /// The number of base units.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// The sum with `other`; `None` above [`Amount::MAX`].
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).and_then(Amount::new)
    }

    /// The difference to `other`; `None` if it is negative.
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// Parses an amount in coins: digits, optionally followed by a point and one to eight decimals.
    pub fn from_coins(text: &str) -> Result<Amount, ParseCoinsError> {
        let (whole, decimals) = match text.split_once('.') {
            Some((_, "")) => return Err(ParseCoinsError::NotANumber),
            Some((whole, decimals)) => (whole, decimals),
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return Err(ParseCoinsError::NotANumber);
        }
        if decimals.len() > 8 {
            return Err(ParseCoinsError::TooPrecise);
        }
        let whole: u64 = whole.parse().map_err(|_| ParseCoinsError::TooLarge)?;
        let fraction: u64 =
            format!("{decimals:0<8}").parse().map_err(|_| ParseCoinsError::NotANumber)?;
        whole
            .checked_mul(COIN)
            .and_then(|units| units.checked_add(fraction))
            .and_then(Amount::new)
            .ok_or(ParseCoinsError::TooLarge)
    }
}

/// Formats the amount in coins without trailing zeros: `1.5`, `0.00000001`, `50`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / COIN, self.0 % COIN);
        if fraction == 0 {
            return f.pad(&whole.to_string());
        }
        let decimals = format!("{fraction:08}");
        f.pad(&format!("{whole}.{}", decimals.trim_end_matches('0')))
    }
}

/// The error of a text that is not an amount in coins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCoinsError {
    /// The text is empty, or has other characters than digits and one point between digits.
    #[error("an amount is written in coins as digits with at most one point, such as 1.5")]
    NotANumber,
    /// The text has more than eight decimals.
    #[error("an amount has at most 8 decimals: one base unit is 0.00000001 coins")]
    TooPrecise,
    /// The amount is above [`Amount::MAX`].
    #[error("an amount is at most {} coins", Amount::MAX)]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_round_trip() {
        for (text, units) in [
            ("0", 0),
            ("1", COIN),
            ("1.5", 150_000_000),
            ("0.00000001", 1),
            ("90071992.54740991", MAX_UNITS),
            ("007", 7 * COIN),
        ] {
            assert_eq!(Amount::from_coins(text).map(Amount::units), Ok(units), "{text}");
        }
        for units in [0, 1, 10, COIN - 1, COIN, MAX_UNITS] {
            let amount = Amount::new(units).unwrap();
            assert_eq!(Amount::from_coins(&amount.to_string()), Ok(amount));
        }
    }

    // W10
    #[test]
    fn rejects_text_that_is_not_coins() {
        use ParseCoinsError::*;
        for (text, error) in [
            ("", NotANumber),
            (".", NotANumber),
            (".5", NotANumber),
            ("1.", NotANumber),
            ("-1", NotANumber),
            ("+1", NotANumber),
            ("1e3", NotANumber),
            ("1,000.5", NotANumber),
            (" 1", NotANumber),
            ("1.2.3", NotANumber),
            ("0.000000001", TooPrecise),
            ("90071992.54740992", TooLarge),
            ("123456789012345678901", TooLarge),
        ] {
            assert_eq!(Amount::from_coins(text), Err(error), "{text:?}");
        }
    }

    // C04, C05
    #[test]
    fn arithmetic_rejects_results_out_of_range() {
        assert_eq!(Amount::MAX.checked_add(Amount(1)), None);
        assert_eq!(Amount::MAX.checked_add(Amount::ZERO), Some(Amount::MAX));
        assert_eq!(Amount::ZERO.checked_sub(Amount(1)), None);
        assert_eq!(Amount::new(MAX_UNITS + 1), None);
    }
}
