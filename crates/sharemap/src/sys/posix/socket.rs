//! Unix sockets, over which descriptors are sent (`SCM_RIGHTS`).

#![allow(unsafe_code, reason = "calls the C library")]

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use super::errno;

/// The most descriptors that [`recv_files`] has room for.
const MOST: usize = 8;

/// The length of the space for a control message with [`MOST`] descriptors.
const ROOM: usize = len_for(MOST, true);

/// The space for a control message.
#[repr(C)]
union Control {
    /// The alignment.
    _header: libc::cmsghdr,
    bytes: [u8; ROOM],
}

/// Returns the length of a control message with `count` descriptors; with `padding`, that of its space.
const fn len_for(count: usize, padding: bool) -> usize {
    let len = (count * size_of::<RawFd>()) as c_uint;
    // SAFETY: both compute numbers.
    let len = unsafe { if padding { libc::CMSG_SPACE(len) } else { libc::CMSG_LEN(len) } };
    len as usize
}

/// The result of [`recv_files`].
pub(crate) struct Received {
    /// The number of bytes; 0 at the end of the stream.
    pub(crate) bytes: usize,
    pub(crate) files: Vec<File>,
    /// `true` if more descriptors were sent than there was room for.
    pub(crate) is_cut_off: bool,
}

/// Sends bytes, with a descriptor attached to the first of them. Returns the number of bytes sent.
pub(crate) fn send_file(
    socket: &File,
    bytes: &[u8],
    file: &File,
    flags: c_int,
) -> Result<usize, Errno> {
    let mut control = Control { bytes: [0; ROOM] };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = message(&mut part, &mut control, len_for(1, true));
    // SAFETY: the control space is aligned, and has room for a header and a descriptor. The kernel only reads
    // the bytes.
    result(unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = len_for(1, false) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(file.as_raw_fd());
        libc::sendmsg(socket.as_raw_fd(), &raw const message, flags)
    })
}

/// Receives bytes and descriptors.
pub(crate) fn recv_files(socket: &File, bytes: &mut [u8], flags: c_int) -> Result<Received, Errno> {
    let mut control = Control { bytes: [0; ROOM] };
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = message(&mut part, &mut control, ROOM);
    // SAFETY: the message refers to `bytes` and to the control space, which the kernel fills.
    let bytes = result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    let mut files = Vec::new();
    // SAFETY: the kernel has written the headers and set the length of the control messages. Each descriptor
    // is new.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if ((*header).cmsg_level, (*header).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let len = ((*header).cmsg_len as usize).saturating_sub(len_for(0, false));
                let first = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..len / size_of::<RawFd>() {
                    files.push(File::from_raw_fd(first.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(Received { bytes, files, is_cut_off: message.msg_flags & libc::MSG_CTRUNC != 0 })
}

/// Sends bytes. Returns their number.
pub(crate) fn send(socket: &File, bytes: &[u8], flags: c_int) -> Result<usize, Errno> {
    // SAFETY: the slice has so many bytes.
    result(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Receives bytes. Returns their number; 0 at the end of the stream.
pub(crate) fn recv(socket: &File, bytes: &mut [u8], flags: c_int) -> Result<usize, Errno> {
    // SAFETY: the slice has so many bytes.
    result(unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) })
}

/// Returns a message of one part, with `room` bytes of control space.
fn message(part: &mut libc::iovec, control: &mut Control, room: usize) -> libc::msghdr {
    // SAFETY: the fields are numbers and pointers, for which all zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(control).cast();
    message.msg_controllen = room as _;
    message
}

fn result(count: isize) -> Result<usize, Errno> {
    usize::try_from(count).map_err(|_| errno::last())
}
