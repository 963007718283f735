//! Reads bit by bit what decoders are configured with.
//!
//! # Invariants
//!
//! * Behind the end there is nothing: every read says so, none reads on.

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// At most 32 bits as a number.
    pub(super) fn number(&mut self, bits: u32) -> Option<u32> {
        debug_assert!(bits <= 32, "a number has at most 32 bits");
        let mut value = 0u32;
        for _ in 0..bits {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// An Exp-Golomb number.
    pub(super) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.number(zeros)?;
        (1u32 << zeros).checked_add(rest)?.checked_sub(1)
    }

    pub(super) fn signed_golomb(&mut self) -> Option<i32> {
        let coded = self.golomb()?;
        let half = i32::try_from(coded.div_ceil(2)).ok()?;
        Some(if coded % 2 == 1 { half } else { -half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_numbers_have_their_length_in_front() {
        // 1, 010, 011, 00100
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0000]);
        let read: Vec<_> = (0..4).filter_map(|_| bits.golomb()).collect();
        assert_eq!(read, [0, 1, 2, 3]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0000]);
        let read: Vec<_> = (0..4).filter_map(|_| bits.signed_golomb()).collect();
        assert_eq!(read, [0, 1, -1, 2]);
    }

    #[test]
    fn behind_the_end_there_is_nothing() {
        let mut bits = Bits::new(&[0xff]);
        assert_eq!(bits.number(8), Some(255));
        assert_eq!(bits.bit(), None);
        assert_eq!(Bits::new(&[0; 8]).golomb(), None);
    }
}
