//! Faults at every position of the sites that only this architecture has.

#![allow(unsafe_code, reason = "the sites themselves")]

use std::arch::x86_64::__m256i;

use super::vectors::{Narrow, load_quad, load_quad_wide, store_quad, store_quad_wide};

use crate::sys::tests::sites::{check_load, check_scan, check_store, run};

#[test]
fn four_narrow_vectors() {
    check_load("load_quad", &run(4, 16), 1, |address, to| {
        let mut fault = 0;
        // SAFETY: memory of the test; the buffer has 64 bytes.
        unsafe {
            let values = load_quad(address, &mut fault);
            to.as_mut_ptr().cast::<[Narrow; 4]>().write_unaligned(values);
        }
        fault
    });
    check_store("store_quad", &run(4, 16), 1, |address| {
        let mut fault = 0;
        // SAFETY: memory of the test; any bytes are vectors.
        unsafe {
            let values = std::mem::transmute::<[u8; 64], [Narrow; 4]>([0xee; 64]);
            store_quad(address, values, &mut fault);
        }
        fault
    });
}

#[test]
fn four_wide_vectors() {
    if !std::is_x86_feature_detected!("avx") {
        eprintln!("skipped: this processor has no AVX");
        return;
    }
    check_load("load_quad_wide", &run(4, 32), 1, |address, to| {
        let mut fault = 0;
        // SAFETY: memory of the test; the buffer has 128 bytes; the processor has the vectors.
        unsafe {
            let values = load_quad_wide(address, &mut fault);
            to.as_mut_ptr().cast::<[__m256i; 4]>().write_unaligned(values);
        }
        fault
    });
    check_store("store_quad_wide", &run(4, 32), 1, |address| {
        let mut fault = 0;
        // SAFETY: memory of the test; any bytes are vectors; the processor has them.
        unsafe {
            let values = std::mem::transmute::<[u8; 128], [__m256i; 4]>([0xee; 128]);
            store_quad_wide(address, values, &mut fault);
        }
        fault
    });
}

/// A scan takes the vectors of AVX2 where there are any, and each load of them may fault.
#[test]
fn scans_by_the_vectors_of_this_processor() {
    let wide = std::is_x86_feature_detected!("avx2");
    if !wide {
        eprintln!("this processor has no AVX2, so the scan is one by the vectors of the target");
    }
    let block = match wide {
        _ if cfg!(target_feature = "avx512f") => 64,
        true => 32,
        false => 16,
    };
    check_scan("scan", block, if wide { 32 } else { 16 }, super::scan);
}
