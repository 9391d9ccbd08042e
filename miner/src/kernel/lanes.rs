//! The two hashes of several nonces at once, one nonce per vector lane, for vectors of any width.

/// Defines the message schedules of the two hashes. The file that invokes it defines a type
/// `Vector` and, on its lanes, `splat`, `add`, `small0` and `small1`. Terms that are 0 or the same
/// in all lanes are not computed.
macro_rules! schedule {
    ($features:literal) => {
        /// The last sixteen words of a schedule, each at its index modulo 16.
        #[derive(Clone, Copy)]
        struct Schedule([Vector; 16]);

        impl Schedule {
            /// The schedule of the first hash up to word 17.
            #[inline]
            #[target_feature(enable = $features)]
            fn first(nonce: Vector) -> Schedule {
                let mut words = [splat(0); 16];
                words[3] = nonce;
                Schedule(words)
            }

            /// The schedule of the second hash up to word 15.
            #[inline]
            #[target_feature(enable = $features)]
            fn second(digest: [Vector; 8]) -> Schedule {
                let mut words = [splat(0); 16];
                words[..8].copy_from_slice(&digest);
                Schedule(words)
            }

            /// Computes word `T` of the first hash, from 18 on.
            #[inline]
            #[target_feature(enable = $features)]
            fn first_word<const T: usize>(&mut self, precomputed: &Precomputed) -> Vector {
                let w = &self.0;
                let word = match T {
                    18 => add(splat(precomputed.w18), small0(w[3])),
                    19 => add(splat(precomputed.w19), w[3]),
                    20 => add(small1(w[2]), splat(PADDING)),
                    21 => small1(w[3]),
                    22 => add(small1(w[4]), splat(HEADER_BITS)),
                    23 => add(small1(w[5]), splat(precomputed.w16)),
                    24 => add(small1(w[6]), splat(precomputed.w17)),
                    25..30 => self.late::<T>(),
                    30 => add(self.late::<T>(), splat(const { sha256::small0(HEADER_BITS) })),
                    31 => add(self.late::<T>(), splat(precomputed.w31)),
                    32 => add(self.late::<T>(), splat(precomputed.w32)),
                    33 => add(self.late::<T>(), add(splat(precomputed.w17), small0(w[2]))),
                    _ => add(self.late::<T>(), self.early::<T>()),
                };
                self.0[T % 16] = word;
                word
            }

            /// Computes word `T` of the second hash, from 16 on.
            #[inline]
            #[target_feature(enable = $features)]
            fn second_word<const T: usize>(&mut self) -> Vector {
                let w = &self.0;
                let word = match T {
                    16 => self.early::<T>(),
                    17 => add(self.early::<T>(), splat(const { sha256::small1(DIGEST_BITS) })),
                    18..22 => add(self.early::<T>(), small1(w[(T + 14) % 16])),
                    22 => add(add(self.early::<T>(), small1(w[4])), splat(DIGEST_BITS)),
                    23 => {
                        let early = add(w[7], splat(const { sha256::small0(PADDING) }));
                        add(self.late::<T>(), early)
                    }
                    24 => add(self.late::<T>(), splat(PADDING)),
                    25..30 => self.late::<T>(),
                    30 => add(self.late::<T>(), splat(const { sha256::small0(DIGEST_BITS) })),
                    31 => add(self.late::<T>(), add(small0(w[0]), splat(DIGEST_BITS))),
                    _ => add(self.late::<T>(), self.early::<T>()),
                };
                self.0[T % 16] = word;
                word
            }

            /// The terms of word `T` that come from the words 16 and 15 places earlier.
            #[inline]
            #[target_feature(enable = $features)]
            fn early<const T: usize>(&self) -> Vector {
                add(self.0[T % 16], small0(self.0[(T + 1) % 16]))
            }

            /// The terms of word `T` that come from the words 7 and 2 places earlier.
            #[inline]
            #[target_feature(enable = $features)]
            fn late<const T: usize>(&self) -> Vector {
                add(self.0[(T + 9) % 16], small1(self.0[(T + 14) % 16]))
            }
        }
    };
}

/// Defines the steps of the two hashes. The file that invokes it also invokes `schedule!` and
/// defines `choose`, `majority`, `big0`, `big1` and `before`, which returns its arguments and may
/// force the compiler to compute the first one first.
///
/// A step is a round and, off its critical path, the next round's word and the sum of its h,
/// constant and word.
macro_rules! rounds {
    ($features:literal) => {
        /// The state of a hash between two rounds.
        #[derive(Clone, Copy)]
        struct HashState {
            state: [Vector; 8],
            schedule: Schedule,
            /// The sum of h, the constant and the word of the next round.
            next: Vector,
        }

        impl HashState {
            /// Starts the first hash, to be continued by `first_step::<5>`.
            #[inline]
            #[target_feature(enable = $features)]
            fn first(precomputed: &Precomputed, nonce: Vector) -> HashState {
                let next = splat(precomputed.partial.with_h[0]);
                HashState::start(&precomputed.partial, nonce, Schedule::first(nonce), next)
            }

            /// Starts the second hash, to be continued by `second_step::<2>`.
            #[inline]
            #[target_feature(enable = $features)]
            fn second(second: &PartialHash, digest: [Vector; 8]) -> HashState {
                let next = add(splat(second.with_h[0]), digest[1]);
                HashState::start(second, digest[0], Schedule::second(digest), next)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn start(
                partial: &PartialHash,
                word: Vector,
                schedule: Schedule,
                next: Vector,
            ) -> HashState {
                let [a, b, c, d, e, f, g, h] = partial.state;
                let (a, e) = (add(splat(a), word), add(splat(e), word));
                let [b, c, d] = [splat(b), splat(c), splat(d)];
                let [f, g, h] = [splat(f), splat(g), splat(h)];
                HashState { state: [a, b, c, d, e, f, g, h], schedule, next }
            }

            /// Computes round `T - 1` of the first hash and the inputs of round `T`.
            #[inline]
            #[target_feature(enable = $features)]
            fn first_step<const T: usize>(&mut self, precomputed: &Precomputed) {
                match T {
                    ..7 => self.round(splat(precomputed.partial.with_h[T - 4]), true),
                    7..18 => self.round(splat(precomputed.partial.constants[T]), false),
                    18..64 => {
                        let word = self.schedule.first_word::<T>(precomputed);
                        self.round(add(splat(precomputed.partial.constants[T]), word), false);
                    }
                    _ => self.round(splat(0), true),
                }
            }

            /// Computes round `T - 1` of the second hash and the inputs of round `T`.
            #[inline]
            #[target_feature(enable = $features)]
            fn second_step<const T: usize>(&mut self, second: &PartialHash) {
                match T {
                    ..4 => {
                        let constant = splat(second.with_h[T - 1]);
                        self.round(add(constant, self.schedule.0[T]), true);
                    }
                    4..8 => {
                        let constant = splat(second.constants[T]);
                        self.round(add(constant, self.schedule.0[T]), false);
                    }
                    8..16 => self.round(splat(second.constants[T]), false),
                    16..=LAST_ROUND => {
                        let word = self.schedule.second_word::<T>();
                        self.round(add(splat(second.constants[T]), word), false);
                    }
                    _ => self.round(splat(0), true),
                }
            }

            /// Computes a round. `next` is the sum of the next round's constant and word, and of
            /// its h if `has_h`.
            #[inline]
            #[target_feature(enable = $features)]
            fn round(&mut self, next: Vector, has_h: bool) {
                let [a, b, c, d, e, f, g, _] = self.state;
                let first = add(add(self.next, choose(e, f, g)), big1(e));
                let (first, a) = before(first, a);
                let second = add(big0(a), majority(a, b, c));
                self.next = if has_h { next } else { add(g, next) };
                self.state = [add(first, second), a, b, c, add(d, first), e, f, g];
            }

            /// The digest of the first hash, after its last round.
            #[inline]
            #[target_feature(enable = $features)]
            fn digest(&self, precomputed: &Precomputed) -> [Vector; 8] {
                let mut digest = self.state;
                for (word, start) in digest.iter_mut().zip(precomputed.midstate) {
                    *word = add(*word, splat(start));
                }
                digest
            }
        }
    };
}
pub(super) use {rounds, schedule};
