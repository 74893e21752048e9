//! What comes through a worker's descriptor, on either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pleach::executor::protocol::{Reply, Request, read, write};

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    while let Ok(Some(request)) = read::<Request>(&mut input) {
        let mut back = Vec::new();
        write(&mut back, &request).expect("memory can be written");
        assert_eq!(read::<Request>(&mut back.as_slice()).expect("it was just written"), Some(request));
    }
    let mut input = bytes;
    while let Ok(Some(reply)) = read::<Reply>(&mut input) {
        let mut back = Vec::new();
        write(&mut back, &reply).expect("memory can be written");
        assert_eq!(read::<Reply>(&mut back.as_slice()).expect("it was just written"), Some(reply));
    }
});
