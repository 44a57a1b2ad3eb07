//! The header and the tables of an object (FORMAT.md): where they lie, and what of them differs
//! between runs.

/// The numbers of participants and lanes of an object. Small ones keep searches short; attaching as
/// often as there are participants recovers all dead ones.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    pub participants: usize,
    pub lanes: usize,
}

impl Tables {
    /// The offset of the participants' records, which follow the header and the wait buckets.
    pub const RECORDS: usize = 256 + 64 * 4;

    /// Returns the offset of the lanes.
    pub const fn lanes_at(self) -> usize {
        Self::RECORDS + self.participants * 64
    }

    /// Returns the offset of the payload.
    pub const fn payload_at(self) -> usize {
        self.lanes_at() + self.lanes * 64
    }

    /// Blanks identities, times and counts that only grow.
    pub fn mask(self, object: &mut [u8]) {
        let mut forget = |from: usize, len: usize| {
            if let Some(bytes) = object.get_mut(from..from + len) {
                bytes.fill(0);
            }
        };
        forget(16, 16); // the id
        forget(120, 8); // the checksum
        forget(136, 24); // attachments, and the boot
        forget(168, 16); // the companion
        for participant in 0..self.participants {
            forget(Self::RECORDS + participant * 64 + 4, 60);
        }
        for lane in 0..self.lanes {
            forget(self.lanes_at() + lane * 64 + 4, 4);
        }
    }
}
