//! Random faults of the network.

use super::link::Faults;
use super::world::World;
use rand::RngExt;
use std::time::Duration;

impl World {
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(self.faults.latency.clone()))
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.rng.random_range(0..100) < self.faults.loss
    }

    pub(super) fn is_gossip_lost(&mut self) -> bool {
        let more = self.faults.gossip_loss;
        self.is_lost() || (more > 0 && self.rng.random_range(0..100) < more)
    }

    pub(super) fn is_repeated(&mut self) -> bool {
        self.faults.repeats > 0 && self.rng.random_range(0..100) < self.faults.repeats
    }

    /// A random number below a bound.
    pub(super) fn pick(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    /// Causes one random event or fault.
    pub(super) fn disturb(&mut self) {
        let node = self.pick(self.nodes.len());
        match self.rng.random_range(0..100_u32) {
            0..35 => self.mine_if_up(node),
            35..70 => {
                let count = self.rng.random_range(1..4);
                self.pay_if_up(node, count);
            }
            // More than fits into a block that is announced in full.
            70..75 => self.pay_if_up(node, 45),
            // Mined before another node has seen them.
            75..80 => {
                self.pay_if_up(node, 45);
                self.mine_if_up(node);
            }
            // More than may follow a transfer that is lost.
            80 if self.nodes[node].is_up => self.pay_in_a_row(node, 150),
            80..87 => {
                let down = self.rng.random_range(1..20);
                self.restart(node, Duration::from_secs(down));
            }
            87..92 if self.divide.is_none() => {
                let first = self.rng.random_range(1..self.nodes.len());
                self.divide_at(first);
            }
            87..95 => self.divide = None,
            _ => self.faults = self.any_faults(),
        }
    }

    fn any_faults(&mut self) -> Faults {
        let slowest = [60, 200, 1_000, 3_000][self.pick(4)];
        let loss = [0, 5, 30][self.pick(3)];
        Faults { latency: 5..=slowest, loss, gossip_loss: 0, repeats: 10 }
    }

    fn mine_if_up(&mut self, node: usize) {
        if self.nodes[node].is_up {
            self.mine(node);
        }
    }

    fn pay_if_up(&mut self, node: usize, count: usize) {
        if self.nodes[node].is_up {
            self.pay(node, count);
        }
    }
}
