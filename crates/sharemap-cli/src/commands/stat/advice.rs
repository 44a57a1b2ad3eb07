//! Advises how to read a file.

use crate::commands::pages::Mappable;
use crate::system::procfs::HugePageUse;
use serde::Serialize;

/// The properties of a file that the advice depends on.
pub(super) struct Situation<'a> {
    pub(super) size: u64,
    pub(super) pages: u64,
    pub(super) resident: u64,
    pub(super) absent: u64,
    pub(super) file_system: Option<&'a str>,
    pub(super) huge_pages: Option<&'a HugePageUse>,
    pub(super) mappable: Mappable,
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hint {
    /// The intended use.
    pub(super) when: &'static str,
    /// The advice for that use, as text.
    pub(super) what: &'static str,
    /// The value of `sharemap::Advice` for the mapping, if there is one.
    pub(super) advice: Option<&'static str>,
}

/// The size below which setting up a mapping costs more than copying the file.
const WORTH_MAPPING: u64 = 256 << 10;
/// The size from which address translation takes a noticeable part of the time.
const WORTH_HUGE_PAGES: u64 = 64 << 20;

impl Situation<'_> {
    /// Returns the advice, one hint for each use.
    pub(super) fn hints(&self) -> Vec<Hint> {
        let hint = |when, what, advice| Hint { when, what, advice };
        if self.size == 0 {
            return vec![hint("any use", "there is nothing to map yet", None)];
        }
        if self.mappable == Mappable::Refused {
            let what = "the system cannot map it: use read(), as FileContents::open does";
            return vec![hint("any use", what, None)];
        }
        let mut hints = Vec::new();
        if self.size < WORTH_MAPPING {
            hints.push(hint(
                "read once, whole",
                "read() is faster than a mapping below about 256 KiB; FileContents::open chooses it",
                None,
            ));
        }
        if self.is_remote() {
            hints.push(hint(
                "shared between machines",
                "a mapping sees another machine's writes late or never; use read() and locks",
                None,
            ));
        }
        if self.in_memory_only() {
            if self.size >= WORTH_HUGE_PAGES && !self.has_huge_pages() {
                hints.push(hint(
                    "random reads",
                    "it is in memory only, so huge pages help: MapOptions::huge_pages, or \
                     MADV_HUGEPAGE",
                    Some("HugePage"),
                ));
            }
        } else if self.absent * 10 > self.pages && self.size >= WORTH_MAPPING {
            hints.push(hint(
                "random reads",
                "use MADV_RANDOM (Advice::Random): much of it is on the disk, and reading ahead \
                 makes each random read several times slower",
                Some("Random"),
            ));
            hints.push(hint(
                "one pass, in order",
                "use MADV_SEQUENTIAL (Advice::Sequential): the system reads far ahead and drops the pages \
                 that have been read",
                Some("Sequential"),
            ));
            hints.push(hint(
                "all of it, soon",
                "bring it into memory first, with populate or `sharemap touch`",
                Some("WillNeed"),
            ));
        }
        if hints.is_empty() {
            let what = if self.resident == self.pages {
                "it is in memory: map it as it is"
            } else {
                "map it as it is"
            };
            hints.push(hint("any use", what, Some("Normal")));
        }
        hints
    }

    fn name(&self) -> String {
        self.file_system.unwrap_or_default().to_ascii_lowercase()
    }

    fn in_memory_only(&self) -> bool {
        ["tmpfs", "ramfs", "hugetlbfs", "devtmpfs"].contains(&self.name().as_str())
    }

    fn is_remote(&self) -> bool {
        let name = self.name();
        let remote = ["nfs", "cifs", "smb", "9p", "ceph", "afs", "fuse", "lustre"];
        remote.iter().any(|remote| name.starts_with(remote))
    }

    fn has_huge_pages(&self) -> bool {
        self.huge_pages.is_some_and(|huge| huge.mapped > 0 || huge.page_size > 1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(situation: &Situation<'_>) -> Vec<Option<&'static str>> {
        situation.hints().iter().map(|hint| hint.advice).collect()
    }

    fn on_disk(size: u64, resident: u64) -> Situation<'static> {
        let pages = size.div_ceil(4096);
        Situation {
            size,
            pages,
            resident,
            absent: pages - resident,
            file_system: Some("ext4"),
            huge_pages: None,
            mappable: Mappable::Yes,
        }
    }

    #[test]
    fn small_files_are_read() {
        let hints = on_disk(4096, 1).hints();
        assert!(hints[0].what.contains("read()"), "{hints:?}");
        assert!(on_disk(0, 0).hints()[0].what.contains("nothing"));
    }

    #[test]
    fn files_on_disk_get_advice() {
        let cold = on_disk(1 << 30, 0);
        assert_eq!(advice(&cold), [Some("Random"), Some("Sequential"), Some("WillNeed")]);
    }

    #[test]
    fn files_that_cannot_be_mapped_are_read() {
        let refused = Situation { mappable: Mappable::Refused, ..on_disk(1 << 30, 0) };
        assert_eq!(advice(&refused), [None]);
    }

    #[test]
    fn files_in_memory_are_mapped_as_they_are() {
        let warm = on_disk(1 << 30, 1 << 18);
        assert_eq!(advice(&warm), [Some("Normal")]);
    }

    #[test]
    fn files_on_tmpfs_get_huge_pages() {
        let mut warm = on_disk(1 << 30, 1 << 18);
        warm.file_system = Some("tmpfs");
        assert_eq!(advice(&warm), [Some("HugePage")]);
        let huge = HugePageUse { page_size: 4096, mapped: 1 << 30, eligible: true };
        warm.huge_pages = Some(&huge);
        assert_eq!(advice(&warm), [Some("Normal")]);
    }
}
