//! zlib-ng's C interface, as far as `flate2` calls it, answered by `zlib-rs`.
//!
//! `pingora-core` switches on `flate2/zlib-ng`, whose C sources need CMake. The workspace patches
//! that crate with this one, so that rustc and a C compiler are all that a build needs. The gateway
//! never compresses or decompresses a body; the code is linked, not run.
//!
//! Only the type of the two allocator fields differs between the crates: a plain function pointer
//! here (flate2 fills it in), an `Option` of one there. Both are one nullable machine word, so the
//! stream can be passed on by casting its pointer; a constant assertion below holds the sizes equal.
#![allow(
    non_camel_case_types,
    non_snake_case,
    clippy::missing_safety_doc,
    clippy::too_many_arguments
)]

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

pub use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_DATA_ERROR, Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_FULL_FLUSH,
    Z_MEM_ERROR, Z_NEED_DICT, Z_NO_FLUSH, Z_OK, Z_PARTIAL_FLUSH, Z_STREAM_END, Z_STREAM_ERROR,
    Z_SYNC_FLUSH,
};

pub type alloc_func = unsafe extern "C" fn(voidpf, uInt, uInt) -> voidpf;
pub type free_func = unsafe extern "C" fn(voidpf, voidpf);
pub type uInt = c_uint;
pub type uLong = c_ulong;
pub type voidpf = *mut c_void;

/// The stream's state belongs to the implementation.
pub enum internal_state {}

/// `z_stream` of zlib.h.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct z_stream {
    pub next_in: *mut u8,
    pub avail_in: uInt,
    pub total_in: uLong,
    pub next_out: *mut u8,
    pub avail_out: uInt,
    pub total_out: uLong,
    pub msg: *mut c_char,
    pub state: *mut internal_state,
    pub zalloc: alloc_func,
    pub zfree: free_func,
    pub opaque: voidpf,
    pub data_type: c_int,
    pub adler: uLong,
    pub reserved: uLong,
}
pub type z_streamp = *mut z_stream;

const _: () = assert!(size_of::<z_stream>() == size_of::<libz_rs_sys::z_stream>());
const _: () = assert!(align_of::<z_stream>() == align_of::<libz_rs_sys::z_stream>());

macro_rules! forward {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {$(
        /// # Safety
        /// As the function of the same name in zlib.h.
        pub unsafe extern "C" fn $name(strm: z_streamp, $($arg: $kind),*) -> $out {
            // SAFETY: the caller keeps zlib's contract; both stream types have one layout.
            unsafe { libz_rs_sys::$name(strm.cast(), $($arg),*) }
        }
    )*};
}

forward! {
    deflate(flush: c_int) -> c_int;
    deflateEnd() -> c_int;
    deflateReset() -> c_int;
    deflateParams(level: c_int, strategy: c_int) -> c_int;
    deflateSetDictionary(dictionary: *const u8, length: uInt) -> c_int;
    deflateInit2_(
        level: c_int, method: c_int, window_bits: c_int, mem_level: c_int, strategy: c_int,
        version: *const c_char, stream_size: c_int
    ) -> c_int;
    inflate(flush: c_int) -> c_int;
    inflateEnd() -> c_int;
    inflateReset2(window_bits: c_int) -> c_int;
    inflateSetDictionary(dictionary: *const u8, length: uInt) -> c_int;
    inflateInit2_(window_bits: c_int, version: *const c_char, stream_size: c_int) -> c_int;
}

/// The version string that `deflateInit2_` and `inflateInit2_` compare with their own.
pub extern "C" fn zlibVersion() -> *const c_char {
    libz_rs_sys::zlibVersion()
}
