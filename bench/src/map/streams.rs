//! Streams over a mapping, beside std's `BufReader` and `BufWriter` over the file.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};

use sharemap::{Mapping, MappingMut, Reader};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

pub const FIGURES: &[Figure] = &[
    Figure {
        name: "reader, bytes()",
        run: |setup| {
            rows(setup, "reader, bytes()", 4 << 20, &Both(|file| bytes(file), |map| bytes(map)))
        },
    },
    Figure {
        name: "reader, reads of 16 B",
        run: |setup| {
            rows(
                setup,
                "reader, reads of 16 B",
                16 << 20,
                &Both(|file| small(file), |map| small(map)),
            )
        },
    },
    Figure {
        name: "reader, reads of 8 KiB",
        run: |setup| {
            rows(
                setup,
                "reader, reads of 8 KiB",
                64 << 20,
                &Both(|file| pieces::<_, 13>(file), |map| pieces::<_, 13>(map)),
            )
        },
    },
    Figure {
        name: "reader, reads of 64 KiB",
        run: |setup| {
            rows(
                setup,
                "reader, reads of 64 KiB",
                64 << 20,
                &Both(|file| pieces::<_, 16>(file), |map| pieces::<_, 16>(map)),
            )
        },
    },
    Figure {
        name: "reader, lines",
        run: |setup| {
            rows(setup, "reader, lines", 64 << 20, &Both(|file| lines(file), |map| lines(map)))
        },
    },
    Figure {
        name: "reader, read_to_end",
        run: |setup| {
            rows(setup, "reader, read_to_end", 8 << 20, &Both(|file| whole(file), |map| whole(map)))
        },
    },
    Figure {
        name: "writer, writes of 16 B",
        run: |setup| writes(setup, "writer, writes of 16 B", 16),
    },
    Figure {
        name: "writer, writes of 8 KiB",
        run: |setup| writes(setup, "writer, writes of 8 KiB", 8 << 10),
    },
];

/// The same work on each stream, compiled for it.
struct Both(fn(BufReader<&File>) -> std::io::Result<u64>, fn(Reader<'_>) -> std::io::Result<u64>);

fn rows(setup: &Setup, figure: &str, len: usize, work: &Both) -> Result<Vec<Row>, Reason> {
    let file = samples::text_in_memory(len)?;
    let map = Mapping::map(&file).map_err(why)?;
    let right = work.1(map.reader()).map_err(why)?;
    let check = |sum: std::io::Result<u64>| match sum {
        Ok(sum) if sum == right => Ok(()),
        Ok(sum) => Err(format!("the sum is {sum}, and should be {right}")),
        Err(error) => Err(why(error)),
    };
    let outcome = Contest::new()
        .side("BufReader", || {
            (&file).rewind().map_err(why)?;
            check(work.0(BufReader::new(black_box(&file))))
        })
        .side("reader()", || check(work.1(black_box(&map).reader())))
        .run(setup.effort)?;
    let goal = Some(Goal::at_least(1.0));
    Ok(vec![outcome.row(figure, Unit::rate(len), "reader()", "BufReader", goal)])
}

#[inline(never)]
fn bytes<R: BufRead>(stream: R) -> std::io::Result<u64> {
    let mut sum = 0;
    for byte in stream.bytes() {
        sum += u64::from(byte?);
    }
    Ok(sum)
}

#[inline(never)]
fn small<R: Read>(mut stream: R) -> std::io::Result<u64> {
    let mut sum = 0u64;
    let mut piece = [0; 16];
    loop {
        match stream.read_exact(&mut piece) {
            Ok(()) => sum = sum.wrapping_add(u128::from_le_bytes(piece) as u64),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(sum),
            Err(error) => return Err(error),
        }
    }
}

/// Reads pieces of `1 << SHIFT` bytes, of which one byte is used.
#[inline(never)]
fn pieces<R: Read, const SHIFT: usize>(mut stream: R) -> std::io::Result<u64> {
    let mut piece = vec![0; 1 << SHIFT];
    let mut sum = 0;
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(sum),
            count => sum += u64::from(black_box(&piece)[count - 1]) + count as u64,
        }
    }
}

#[inline(never)]
fn lines<R: BufRead>(mut stream: R) -> std::io::Result<u64> {
    let mut line = String::new();
    let mut sum = 0;
    while stream.read_line(&mut line)? > 0 {
        sum += u64::from(line.as_bytes()[0]) + line.len() as u64;
        line.clear();
    }
    Ok(sum)
}

#[inline(never)]
fn whole<R: Read>(mut stream: R) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes.len() as u64 + u64::from(bytes[bytes.len() - 1]))
}

fn writes(setup: &Setup, figure: &str, piece: usize) -> Result<Vec<Row>, Reason> {
    const LEN: usize = 16 << 20;
    let file = samples::text_in_memory(LEN)?;
    let map = MappingMut::map(&file).map_err(why)?;
    let bytes = vec![b'x'; piece];
    let outcome = Contest::new()
        .side("BufWriter", || {
            (&file).rewind().map_err(why)?;
            fill(BufWriter::new(black_box(&file)), &bytes, LEN / piece).map_err(why)
        })
        .side("writer()", || fill(black_box(&map).writer(), &bytes, LEN / piece).map_err(why))
        .run(setup.effort)?;
    let goal = Some(Goal::at_least(1.0));
    Ok(vec![outcome.row(figure, Unit::rate(LEN), "writer()", "BufWriter", goal)])
}

#[inline(never)]
fn fill<W: Write>(mut stream: W, piece: &[u8], count: usize) -> std::io::Result<()> {
    for _ in 0..count {
        stream.write_all(piece)?;
    }
    stream.flush()
}
