//! redb.

use std::path::Path;

use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::reason::{Reason, why};

const WORDS: TableDefinition<u64, u64> = TableDefinition::new("words");

/// Creates a database at `path` with all entries, inserted in one transaction.
pub fn create(path: &Path, entries: &[(u64, u64)]) -> Result<Database, Reason> {
    let database = Database::create(path).map_err(why)?;
    let mut transaction = database.begin_write().map_err(why)?;
    // The peers' files are in memory, where nothing is durable.
    transaction.set_durability(Durability::None).map_err(why)?;
    {
        let mut table = transaction.open_table(WORDS).map_err(why)?;
        for (key, value) in entries {
            table.insert(key, value).map_err(why)?;
        }
    }
    transaction.commit().map_err(why)?;
    Ok(database)
}

/// Makes the entries of a new database durable, so that it can be opened again.
pub fn finish(database: &Database) -> Result<(), Reason> {
    database.begin_write().map_err(why)?.commit().map_err(why)
}

pub fn open(path: &Path) -> Result<Database, Reason> {
    Database::open(path).map_err(why)
}

/// Reads a database, as of one transaction.
pub struct Reader(ReadOnlyTable<u64, u64>);

impl Reader {
    pub fn new(database: &Database) -> Result<Self, Reason> {
        let transaction = database.begin_read().map_err(why)?;
        transaction.open_table(WORDS).map(Self).map_err(why)
    }

    #[inline]
    pub fn get(&self, key: u64) -> Result<Option<u64>, redb::StorageError> {
        Ok(self.0.get(key)?.map(|value| value.value()))
    }
}
