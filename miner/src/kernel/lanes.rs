//! The two hashes of many nonces at once, each in a lane of vectors, for vectors of any width.

/// Defines the message schedules of the two hashes, in a file that has a type `Vector` and, on its
/// lanes, `splat`, `add`, `small0` and `small1`. What is 0 or the same in all lanes is not
/// computed.
macro_rules! schedule {
    ($features:literal) => {
        /// The last sixteen words of a schedule, each in its place modulo 16.
        #[derive(Clone, Copy)]
        struct Schedule([Vector; 16]);

        impl Schedule {
            /// The first hash's up to word 17.
            #[inline]
            #[target_feature(enable = $features)]
            fn first(nonce: Vector) -> Schedule {
                let mut words = [splat(0); 16];
                words[3] = nonce;
                Schedule(words)
            }

            /// The second hash's up to word 15.
            #[inline]
            #[target_feature(enable = $features)]
            fn second(digest: [Vector; 8]) -> Schedule {
                let mut words = [splat(0); 16];
                words[..8].copy_from_slice(&digest);
                Schedule(words)
            }

            /// Word `T` of the first hash, 18 or a later one.
            #[inline]
            #[target_feature(enable = $features)]
            fn first_word<const T: usize>(&mut self, known: &Precomputed) -> Vector {
                let w = &self.0;
                let word = match T {
                    18 => add(splat(known.w18), small0(w[3])),
                    19 => add(splat(known.w19), w[3]),
                    20 => add(small1(w[2]), splat(PADDING)),
                    21 => small1(w[3]),
                    22 => add(small1(w[4]), splat(HEADER_BITS)),
                    23 => add(small1(w[5]), splat(known.w16)),
                    24 => add(small1(w[6]), splat(known.w17)),
                    25..30 => self.late::<T>(),
                    30 => add(self.late::<T>(), splat(const { sha256::small0(HEADER_BITS) })),
                    31 => add(self.late::<T>(), splat(known.w31)),
                    32 => add(self.late::<T>(), splat(known.w32)),
                    33 => add(self.late::<T>(), add(splat(known.w17), small0(w[2]))),
                    _ => add(self.late::<T>(), self.early::<T>()),
                };
                self.0[T % 16] = word;
                word
            }

            /// Word `T` of the second hash, 16 or a later one.
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

            /// What the words 16 and 15 places earlier add to word `T`.
            #[inline]
            #[target_feature(enable = $features)]
            fn early<const T: usize>(&self) -> Vector {
                add(self.0[T % 16], small0(self.0[(T + 1) % 16]))
            }

            /// What the words 7 and 2 places earlier add to word `T`.
            #[inline]
            #[target_feature(enable = $features)]
            fn late<const T: usize>(&self) -> Vector {
                add(self.0[(T + 9) % 16], small1(self.0[(T + 14) % 16]))
            }
        }
    };
}

/// Defines the steps of the two hashes, in a file that has their schedules and, besides what those
/// need, `choose`, `majority`, `big0`, `big1` and `before`, which gives its arguments back and may
/// see to it that the code for the first one comes first.
///
/// A step is a round and, where nothing waits for them, the next round's word and the sum of its
/// h, constant and word.
macro_rules! rounds {
    ($features:literal) => {
        /// A hash between two rounds.
        #[derive(Clone, Copy)]
        struct Chain {
            state: [Vector; 8],
            schedule: Schedule,
            /// h, the constant and the word of the coming round.
            next: Vector,
        }

        impl Chain {
            /// The first hash, to go on with `first_step::<5>`.
            #[inline]
            #[target_feature(enable = $features)]
            fn first(known: &Precomputed, nonce: Vector) -> Chain {
                let next = splat(known.begun.with_h[0]);
                Chain::begin(&known.begun, nonce, Schedule::first(nonce), next)
            }

            /// The second hash, to go on with `second_step::<2>`.
            #[inline]
            #[target_feature(enable = $features)]
            fn second(second: &PartialHash, digest: [Vector; 8]) -> Chain {
                let next = add(splat(second.with_h[0]), digest[1]);
                Chain::begin(second, digest[0], Schedule::second(digest), next)
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn begin(begun: &PartialHash, word: Vector, schedule: Schedule, next: Vector) -> Chain {
                let [a, b, c, d, e, f, g, h] = begun.state;
                let (a, e) = (add(splat(a), word), add(splat(e), word));
                let [b, c, d] = [splat(b), splat(c), splat(d)];
                let [f, g, h] = [splat(f), splat(g), splat(h)];
                Chain { state: [a, b, c, d, e, f, g, h], schedule, next }
            }

            /// Round `T - 1` of the first hash and what round `T` needs.
            #[inline]
            #[target_feature(enable = $features)]
            fn first_step<const T: usize>(&mut self, known: &Precomputed) {
                match T {
                    ..7 => self.round(splat(known.begun.with_h[T - 4]), true),
                    7..18 => self.round(splat(known.begun.constants[T]), false),
                    18..64 => {
                        let word = self.schedule.first_word::<T>(known);
                        self.round(add(splat(known.begun.constants[T]), word), false);
                    }
                    _ => self.round(splat(0), true),
                }
            }

            /// Round `T - 1` of the second hash and what round `T` needs.
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

            /// A round. `next` is what adds to the next round's h, or already has it added.
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

            /// The first hash, after its last round.
            #[inline]
            #[target_feature(enable = $features)]
            fn digest(&self, known: &Precomputed) -> [Vector; 8] {
                let mut digest = self.state;
                for (word, start) in digest.iter_mut().zip(known.midstate) {
                    *word = add(*word, splat(start));
                }
                digest
            }
        }
    };
}
pub(super) use {rounds, schedule};
