//! Sizes as people write and read them.

/// Bytes from `4096`, `0x1000`, `64K`, `64KiB`, `5GiB`; powers of 1024, whatever the case.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let number = |digits: &str| match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let (digits, shift) = if lower.starts_with("0x") {
        (lower.as_str(), 0)
    } else {
        let end = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
        let shift = match &lower[end..] {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err("expected bytes, as in 4096, 0x1000, 64KiB or 5GiB".into()),
        };
        (&lower[..end], shift)
    };
    number(digits)
        .map_err(|error| error.to_string())?
        .checked_mul(1 << shift)
        .ok_or_else(|| "more than 2^64 bytes".into())
}

/// `5.00 GiB`; exact below 1 KiB and for whole units.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes == 1 {
        return "1 byte".into();
    }
    let step = (u64::BITS - 1).saturating_sub(bytes.leading_zeros()) as usize / 10;
    let unit = UNITS[step];
    let whole = 1u64 << (10 * step);
    if bytes.is_multiple_of(whole) {
        format!("{} {unit}", bytes / whole)
    } else {
        format!("{:.2} {unit}", bytes as f64 / whole as f64)
    }
}

/// `1 page`, `2 pages`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `part` of `whole` in per cent.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 4096),
            ("0X1B", 27),
            ("64K", 65536),
            ("64kib", 65536),
            ("5GiB", 5 << 30),
            ("3b", 3),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "-1", "4 K", "5XB", "0x", "99999999999999999999", "16777216T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (5 << 30, "5 GiB"),
            (u64::MAX, "16.00 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
