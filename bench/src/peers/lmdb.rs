//! LMDB, by its Rust interface heed.

use std::path::Path;

use heed::byteorder::NativeEndian;
use heed::types::{Str, U64};
use heed::{BytesEncode, Database, Env, EnvOpenOptions, RoTxn, WithTls};

use crate::reason::{Reason, why};

/// Keys and values that are words.
pub type Word = U64<NativeEndian>;
/// Keys that are text.
pub type Text = Str;

/// A directory with one database, of words.
pub struct Store<K: 'static> {
    env: Env,
    database: Database<K, Word>,
}

/// A transaction that reads a [`Store`].
pub struct Reader<'a, K: 'static> {
    transaction: RoTxn<'a, WithTls>,
    database: Database<K, Word>,
}

impl<K> Store<K> {
    /// Creates a directory with an empty database.
    pub fn create(dir: &Path) -> Result<Self, Reason> {
        std::fs::create_dir(dir).map_err(why)?;
        let env = open_env(dir)?;
        let mut transaction = env.write_txn().map_err(why)?;
        let database = env.create_database(&mut transaction, None).map_err(why)?;
        transaction.commit().map_err(why)?;
        Ok(Self { env, database })
    }

    pub fn open(dir: &Path) -> Result<Self, Reason> {
        let env = open_env(dir)?;
        let transaction = env.read_txn().map_err(why)?;
        let database = env.open_database(&transaction, None).map_err(why)?;
        transaction.commit().map_err(why)?;
        Ok(Self { env, database: database.ok_or("the directory has no database")? })
    }

    /// Inserts all entries in one transaction.
    pub fn insert<'a, Q: ?Sized + 'static>(
        &self,
        entries: impl IntoIterator<Item = (&'a Q, u64)>,
    ) -> Result<(), Reason>
    where
        K: for<'b> BytesEncode<'b, EItem = Q>,
    {
        let mut transaction = self.env.write_txn().map_err(why)?;
        for (key, value) in entries {
            self.database.put(&mut transaction, key, &value).map_err(why)?;
        }
        transaction.commit().map_err(why)
    }

    pub fn reader(&self) -> Result<Reader<'_, K>, Reason> {
        let transaction = self.env.read_txn().map_err(why)?;
        Ok(Reader { transaction, database: self.database })
    }
}

impl<K> Reader<'_, K> {
    #[inline]
    pub fn get<'a, Q: ?Sized>(&self, key: &'a Q) -> heed::Result<Option<u64>>
    where
        K: BytesEncode<'a, EItem = Q>,
    {
        self.database.get(&self.transaction, key)
    }
}

fn open_env(dir: &Path) -> Result<Env, Reason> {
    // SAFETY: only this process uses the directory.
    unsafe { EnvOpenOptions::new().map_size(1 << 30).open(dir) }.map_err(why)
}
