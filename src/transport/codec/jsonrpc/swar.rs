//! Eight bytes at a time in one 64-bit number, for the insides of strings.
//!
//! A mark is the highest bit of a byte. In whatever is returned here the lowest mark is exact: there is such a
//! byte, and none before it. Above it a borrow may leave false marks, so only [`first`] may be asked.
//! Called by the scanner and the walkers; nothing in here reads memory.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = ONES * 0x80;

/// Marks what a string may not simply go over: quotes, backslashes, control characters and all beyond ASCII.
pub fn special(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20);
    quote_or_backslash(word) | (control | word) & HIGHEST
}

/// Marks quotes and backslashes.
pub fn quote_or_backslash(word: u64) -> u64 {
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote | backslash) & !word & HIGHEST
}

/// The index of the first byte that is marked, if any is.
pub fn first(marks: u64) -> Option<usize> {
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_is_exact() {
        for position in 0..8 {
            for byte in 0..=0xff_u8 {
                for (before, behind) in
                    [(b'!', b'#'), (b'[', b']'), (b' ', b'"'), (0x7f, b'\\'), (b'#', 0), (b'a', 0x80)]
                {
                    let mut bytes = [behind; 8];
                    bytes[..position].fill(before);
                    bytes[position] = byte;
                    let word = u64::from_le_bytes(bytes);
                    let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\' | 0x80..);
                    assert_eq!(first(special(word)), bytes.iter().position(is_special), "{bytes:x?}");
                    let ends = |byte: &u8| matches!(byte, b'"' | b'\\');
                    assert_eq!(first(quote_or_backslash(word)), bytes.iter().position(ends), "{bytes:x?}");
                }
            }
        }
    }
}
