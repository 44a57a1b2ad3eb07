//! The calls of [`SharedOptions`] that create or open a segment.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{self, Attachment, ExpectedLayout, Header, Memory, OpenOptions, Payload};
use crate::segment::plan::{GREATEST, KIND, Plan, recover};
use crate::segment::segment::Segment;
use crate::shm::Location;
use crate::sync::SharedOptions;
use crate::sys::AsDescriptor;

impl SharedOptions {
    /// Creates a segment that does not exist yet, like [`Segment::create_new`].
    ///
    /// # Errors
    /// As for [`Segment::create_new`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let options = SharedOptions::new().lanes(64).participants(16);
    /// let segment = options.create_new_segment(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// # Ok(()) }
    /// ```
    pub fn create_new_segment(
        &self,
        location: impl Into<Location>,
        size: u64,
        max: u64,
    ) -> Result<Segment> {
        self.create_at(&location.into(), size, max, self.terms())
    }

    fn create_at(
        &self,
        location: &Location,
        size: u64,
        max: u64,
        terms: &OpenOptions,
    ) -> Result<Segment> {
        let named = |error: Error| error.with_path(location.path());
        let empty = Header::of(&self.segment_layout(0), [0; 16]).map_err(named)?;
        let least = Plan::of(&empty).least();
        let size = size.max(least);
        if max < size || max > GREATEST {
            return Err(named(Error::new(ErrorKind::OutOfBounds, "create"))
                .with_length(max)
                .with_detail(format!("the limit of this segment is {size} to {GREATEST} bytes")));
        }
        let growable_to = max.saturating_sub(empty.payload_at);
        let layout = ExpectedLayout {
            growable_to,
            ..self.segment_layout(size.saturating_sub(empty.payload_at))
        };
        let fill = &mut |memory: &Memory, header: &Header| Plan::of(header).fill(memory, header);
        Segment::over(peer::create_new(location, &layout, terms, recover, fill)?)
    }

    /// Opens an existing segment, like [`Segment::open`].
    ///
    /// # Errors
    /// As for [`Segment::open`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-opened")?);
    /// SharedOptions::new().create_new_segment(&name, 1 << 20, 1 << 26)?.set_value("answer", &42_u32)?;
    /// let segment = SharedOptions::new().open_segment(&name)?;
    /// assert_eq!(segment.value::<u32>("answer")?, Some(42));
    /// # Ok(()) }
    /// ```
    pub fn open_segment(&self, location: impl Into<Location>) -> Result<Segment> {
        self.open_segment_as(&location.into(), Attachment::Participant)
    }

    /// Opens an existing segment for reading, like [`Segment::open_read_only`].
    ///
    /// # Errors
    /// As for [`Segment::open_read_only`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-read-only")?);
    /// SharedOptions::new().create_new_segment(&name, 1 << 20, 1 << 26)?.set_value("answer", &42_u32)?;
    /// let segment = SharedOptions::new().open_segment_read_only(&name)?;
    /// assert_eq!(segment.value::<u32>("answer")?, Some(42));
    /// # Ok(()) }
    /// ```
    pub fn open_segment_read_only(&self, location: impl Into<Location>) -> Result<Segment> {
        self.open_segment_as(&location.into(), Attachment::ReadOnly)
    }

    /// Opens an existing segment as private copies of its pages, like [`Segment::open_copy_on_write`].
    ///
    /// # Errors
    /// As for [`Segment::open_copy_on_write`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-copied")?);
    /// SharedOptions::new().create_new_segment(&name, 1 << 20, 1 << 26)?.set_value("answer", &42_u32)?;
    /// let segment = SharedOptions::new().open_segment_copy_on_write(&name)?;
    /// assert_eq!(segment.value::<u32>("answer")?, Some(42));
    /// # Ok(()) }
    /// ```
    pub fn open_segment_copy_on_write(&self, location: impl Into<Location>) -> Result<Segment> {
        self.open_segment_as(&location.into(), Attachment::CopyOnWrite)
    }

    fn open_segment_as(&self, location: &Location, attachment: Attachment) -> Result<Segment> {
        let (layout, terms) = (self.segment_layout(0), self.segment_terms());
        Segment::over(peer::open_as(location, &layout, &terms, attachment, recover)?)
    }

    /// Opens the segment at `location`, or creates it, like [`Segment::open_or_create`].
    ///
    /// # Errors
    /// As for [`Segment::open_or_create`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let name = UnlinkOnDrop::new(Location::unique("doc-segment-either")?);
    /// let options = SharedOptions::new().lanes(64);
    /// let segment = options.open_or_create_segment(&name, 1 << 20, 1 << 26)?;
    /// # Ok(()) }
    /// ```
    pub fn open_or_create_segment(
        &self,
        location: impl Into<Location>,
        size: u64,
        max: u64,
    ) -> Result<Segment> {
        let (location, layout, terms) =
            (location.into(), self.segment_layout(0), self.segment_terms());
        let mut create = |terms: &OpenOptions| {
            self.create_at(&location, size, max, terms).map(|made| made.inner.opening.clone())
        };
        Segment::over(peer::open_or(&location, &layout, &terms, recover, &mut create)?)
    }

    /// Opens a segment that another process passed to this one, like [`Segment::from_descriptor`].
    ///
    /// # Errors
    /// As for [`Segment::from_descriptor`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = SharedOptions::new().create_new_segment(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// if let Some(file) = segment.file() {
    ///     let same = SharedOptions::new().segment_from_descriptor(file)?; // usually in a child process
    /// }
    /// # Ok(()) }
    /// ```
    pub fn segment_from_descriptor(&self, descriptor: impl AsDescriptor) -> Result<Segment> {
        let file = descriptor.duplicate_descriptor()?;
        let (layout, terms) = (self.segment_layout(0), self.segment_terms());
        Segment::over(peer::from_descriptor(&file, &layout, &terms, recover)?)
    }

    fn segment_layout(&self, payload: u64) -> ExpectedLayout {
        let (participants, lanes) = self.tables();
        ExpectedLayout { participants, lanes, ..ExpectedLayout::new(KIND, [0; 16], payload) }
    }

    fn segment_terms(&self) -> OpenOptions {
        OpenOptions { payload: Payload::AtLeast, ..*self.terms() }
    }
}
