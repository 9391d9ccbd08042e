//! Unrolled loops, whose counter is a constant in each iteration.

/// Repeats a block with a constant that counts from 0.
macro_rules! unroll {
    (4, $i:ident => $body:block) => {
        unroll!($i => $body 0 1 2 3)
    };
    (8, $i:ident => $body:block) => {
        unroll!($i => $body 0 1 2 3 4 5 6 7)
    };
    (16, $i:ident => $body:block) => {
        unroll!($i => $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (30, $i:ident => $body:block) => {
        unroll!(
            $i => $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14
            15 16 17 18 19 20 21 22 23 24 25 26 27 28 29
        )
    };
    ($i:ident => $body:block $($number:literal)*) => {$({
        const $i: usize = $number;
        $body
    })*};
}
pub(super) use unroll;
