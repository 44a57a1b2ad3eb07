//! Sizes and durations in the form that users type and read.

use std::time::Duration;

/// Parses a size: `4096`, `0x1000`, `64K`, `64KiB`, `5GiB`. Units are powers of 1024, in either case.
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

/// Parses permissions in octal, such as `600` or `0660`.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("expected permissions in octal, as in 600 or 660".into()),
    }
}

/// Formats a size, such as `5.00 GiB`; exact below 1 KiB and for whole units.
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

/// Parses a duration: `250ms`, `1.5s`, `2m`, `1h`, `1d`; a number without a unit is in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration, as in 250ms, 1.5s, 2m, 1h or 1d";
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = match &text[end..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(EXPECTED.into()),
    };
    let number: f64 = text[..end].parse().map_err(|_| EXPECTED)?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

/// Formats a duration, such as `250 ms`, `3.2 s`, `4 min`, `2 h` or `3 d`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.is_zero() => "0 s".into(),
        0 if time < Duration::from_millis(1) => format!("{} us", time.as_micros()),
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Formats a number with its noun, such as `1 page`, `2 pages` or `2 processes`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with('s') => format!("{number} {noun}es"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns `part` of `whole` in per cent; 0 if `whole` is 0.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
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
    fn modes_are_octal() {
        assert_eq!(parse_mode("600"), Ok(0o600));
        assert_eq!(parse_mode("0660"), Ok(0o660));
        for text in ["", "8", "1000", "rw", "-1"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_parsed_and_formatted() {
        for (text, millis) in [
            ("0", 0),
            ("2", 2000),
            ("250ms", 250),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.5d", 129_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1 s", "5x", "1..2s", "1e3", "9999999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (millis, text) in
            [(0, "0 s"), (250, "250 ms"), (3210, "3.2 s"), (90_000, "1 min"), (7_200_000, "2 h")]
        {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(count(2, "process"), "2 processes");
    }

    #[test]
    fn sizes_are_formatted() {
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
