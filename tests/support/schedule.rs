//! A network whose every doing is written down, so that a test can choose it, and proptest can search for the worst.

use super::net::Direction;

/// So many datagrams are lost, and the next one gets through.
#[derive(Clone, Debug)]
pub struct Turn {
    pub lost: u8,
    /// After how many milliseconds it arrives; more than once, if there are several.
    pub arrivals: Vec<u64>,
}

/// What becomes of the datagrams of one direction: turn after turn, and then from the start again.
#[derive(Clone, Debug)]
pub struct Lane {
    turns: Vec<Turn>,
    at: usize,
    lost: u8,
}

impl Lane {
    pub fn new(turns: Vec<Turn>) -> Self {
        Self { turns, at: 0, lost: 0 }
    }

    fn arrivals(&mut self) -> Vec<u64> {
        let turn = &self.turns[self.at % self.turns.len()];
        if self.lost < turn.lost {
            self.lost += 1;
            return Vec::new();
        }
        self.lost = 0;
        self.at += 1;
        turn.arrivals.clone()
    }
}

#[derive(Clone, Debug)]
pub struct Schedule {
    pub to_server: Lane,
    pub to_client: Lane,
}

impl Schedule {
    /// When the next datagram of this direction arrives; never, if it is lost.
    pub fn arrivals(&mut self, direction: Direction) -> Vec<u64> {
        match direction {
            Direction::ToServer => self.to_server.arrivals(),
            Direction::ToClient => self.to_client.arrivals(),
        }
    }
}
