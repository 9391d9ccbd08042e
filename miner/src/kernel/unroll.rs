//! Loops written out, whose counter is known to each turn's code.

/// Repeats a block with a constant `I` that counts from 0.
macro_rules! unroll {
    (4, $i:ident => $turn:block) => {
        unroll!($i => $turn 0 1 2 3)
    };
    (8, $i:ident => $turn:block) => {
        unroll!($i => $turn 0 1 2 3 4 5 6 7)
    };
    (16, $i:ident => $turn:block) => {
        unroll!($i => $turn 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (30, $i:ident => $turn:block) => {
        unroll!(
            $i => $turn 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14
            15 16 17 18 19 20 21 22 23 24 25 26 27 28 29
        )
    };
    ($i:ident => $turn:block $($number:literal)*) => {$({
        const $i: usize = $number;
        $turn
    })*};
}
pub(super) use unroll;
