//! A reader of segments, written from FORMAT.md alone ("Segments"): it shares no code with the library.

/// The bytes of a segment.
pub struct Image(pub Vec<u8>);

/// A named object.
pub struct Named {
    pub kind: u32,
    pub root: u64,
    pub fingerprint: [u8; 16],
    pub value: Vec<u8>,
    pub description: String,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const ROOT_3: u64 = 0xbb67_ae85_84ca_a73b;
const SPAN: u64 = 65_536;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Returns up to 8 bytes as a word.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn hash_of_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = fold(seed ^ bytes.len() as u64, ROOT_3);
    for part in bytes.chunks(16) {
        let mut both = [0; 16];
        both[..part.len()].copy_from_slice(part);
        hash = fold(word(&both[..8]) ^ hash, word(&both[8..]) ^ GOLDEN);
    }
    fold(hash, ROOT_3)
}

/// Returns the length of the blocks of a class.
fn size_of(class: u64) -> u64 {
    if class < 8 { 16 * (class + 1) } else { (5 + (class - 8) % 4) << (5 + (class - 8) / 4) }
}

impl Image {
    fn bytes(&self, at: u64, len: u64) -> &[u8] {
        &self.0[at as usize..(at + len) as usize]
    }

    fn u64(&self, at: u64) -> u64 {
        word(self.bytes(at, 8))
    }

    fn u32(&self, at: u64) -> u32 {
        word(self.bytes(at, 4)) as u32
    }

    fn roots(&self) -> u64 {
        let lanes = u64::from(self.u32(68));
        self.u64(104) + 64 * 1024 + 384 * lanes
    }

    fn heap(&self) -> u64 {
        (self.roots() + 512 + 336).next_multiple_of(SPAN)
    }

    /// Returns the roots in the lists of free and of removed ones.
    pub fn listed_roots(&self) -> [Vec<u64>; 2] {
        [0, 8].map(|list| {
            let mut roots = Vec::new();
            let mut next = self.u64(self.roots() + list);
            while next != 0 {
                roots.push(next);
                next = self.u64(next + 24);
            }
            roots
        })
    }

    /// Returns the value of a key in the map with this root.
    pub fn get(&self, root: u64, key: &[u8]) -> Option<Vec<u8>> {
        let (directory, seed, form) = (self.u64(root), self.u64(root + 8), self.u64(root + 32));
        assert_eq!(self.u64(root + 16) % 2, 1, "the map was removed");
        let (hash, expected) = match form {
            2 => (hash_of_bytes(seed, key), hash_of_bytes(seed, key)),
            _ => (fold(word(key) ^ seed, GOLDEN), word(key)),
        };
        if directory == 0 {
            return None;
        }
        let (at, depth) = (directory & ((1 << 56) - 1), directory >> 56);
        assert!((4..=32).contains(&depth));
        let page = self.u64(at + 16 + 8 * (hash >> (64 - depth))) >> 28 << 4;
        if page == 0 {
            return None;
        }
        assert!((4..=depth).contains(&self.u64(page)));
        self.assert_allocated(page, 4096);
        for probe in 0..4 {
            let bucket = page + 128 * ((hash / 256 + probe) % 32);
            for index in 0..7 {
                let tag = self.bytes(bucket + 8 + index, 1)[0];
                let entry = bucket + 16 + 16 * index;
                if u64::from(tag) != (hash % 256).max(2) || self.u64(entry) != expected {
                    continue;
                }
                if form == 0 {
                    return Some(self.bytes(entry + 8, 8).to_vec());
                }
                let block = self.u64(entry + 8);
                let (at, id) = (block >> 28 << 4, block & ((1 << 28) - 1));
                assert_eq!(self.u64(at) & ((1 << 28) - 1), id);
                let (key_len, len) = (u64::from(self.u32(at + 8)), u64::from(self.u32(at + 12)));
                let value = at + 16 + key_len.next_multiple_of(16);
                self.assert_allocated(at, value + len - at);
                if form == 1 || self.bytes(at + 16, key_len) == key {
                    return Some(self.bytes(value, len).to_vec());
                }
            }
            if probe == 0 && self.bytes(bucket + 15, 1)[0] >> (hash / 8192 % 8) & 1 == 0 {
                break;
            }
        }
        None
    }

    /// Returns the named object with this name.
    pub fn named(&self, name: &str) -> Option<Named> {
        let value = self.get(self.roots() + 64, name.as_bytes())?;
        let text = value.len() - word(&value[4..8]) as usize;
        Some(Named {
            kind: word(&value[..4]) as u32,
            root: word(&value[8..16]),
            fingerprint: value[16..32].try_into().unwrap(),
            value: value[32..text].to_vec(),
            description: String::from_utf8(value[text..].to_vec()).unwrap(),
        })
    }

    /// Asserts that a block or run begins at `at`, has room for `len` bytes, and is not free.
    pub fn assert_allocated(&self, at: u64, len: u64) {
        let head = self.roots() + 512;
        let span = (at - self.heap()) / SPAN;
        let (chunk, index) = (self.heap() + span / 1024 * 1024 * SPAN, span % 1024);
        assert!(span / 1024 < self.u64(head) && at + len <= self.u64(head + 8));
        assert_eq!(self.u64(chunk + index / 64 * 8) >> (index % 64) & 1, 0, "the span is free");
        let entry = chunk + 128 + 16 * index;
        let begin = self.heap() + span * SPAN;
        let kind = self.u64(entry) & 0xff;
        if kind == 255 {
            assert!(at == begin && len <= (self.u64(entry) >> 8) * SPAN);
            return;
        }
        let size = size_of(kind - 1);
        let (bitmap, first) = match SPAN / size {
            ..=64 => (entry + 8, begin),
            most => (begin, begin + most.div_ceil(8).next_multiple_of(64)),
        };
        let block = (at - first) / size;
        assert!((at - first) % size == 0 && len <= size);
        assert_eq!(self.u64(bitmap + block / 64 * 8) >> (block % 64) & 1, 0, "the block is free");
        assert!(!self.stacked(kind - 1).contains(&at), "the block is in a stack");
    }

    /// Returns the blocks in the stacks of a class of all lanes.
    fn stacked(&self, class: u64) -> Vec<u64> {
        let kept = |class| (16_384 / size_of(class) + 1).clamp(2, 64);
        let stack = 16_384 + (0..class).map(|below| 8 * kept(below)).sum::<u64>();
        let mut blocks = Vec::new();
        for lane in 0..u64::from(self.u32(68)) {
            let head = self.u64(104) + 64 * 1024 + 384 * lane;
            let (body, top) = (self.u64(head + 80), u64::from(self.u32(head + 96 + 4 * class)));
            assert_eq!((self.u64(head), self.u64(head + 8)), (0, 0), "a change is not complete");
            blocks.extend((0..top).map(|index| self.u64(body + stack + 8 * index)));
        }
        blocks
    }
}
