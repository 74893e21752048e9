//! Operators are asked for one child after the other inside the same region. Its lists of lists are
//! what costs most of such a call, so each side of the boundary keeps the last one that crossed.

use std::sync::{Arc, Mutex, PoisonError};

use pleach_abi::{RegionAbi, abi_stable::std_types::RVec};

use super::{region_from_abi, region_to_abi};
use crate::{error::Result, space::Region};

/// The region that was sent last, with its form for the boundary.
#[derive(Default)]
pub(super) struct Sent(Mutex<Option<Arc<(Region, RegionAbi)>>>);

impl Sent {
    pub(super) fn abi_of(&self, region: &Region) -> Arc<(Region, RegionAbi)> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(sent) if sent.0 == *region => Arc::clone(sent),
            _ => Arc::clone(last.insert(Arc::new((region.clone(), region_to_abi(region))))),
        }
    }
}

/// The region that was received last.
#[derive(Default)]
pub(super) struct Received(Mutex<Option<Arc<Region>>>);

impl Received {
    pub(super) fn region_of(&self, region: &[RVec<u16>]) -> Result<Arc<Region>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = |received: &Region| {
            received.slots().len() == region.len()
                && received.slots().iter().zip(region).all(|(known, given)| known[..] == given[..])
        };
        match &*last {
            Some(received) if is_last(received) => Ok(Arc::clone(received)),
            _ => Ok(Arc::clone(last.insert(Arc::new(region_from_abi(region)?)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(slots: &[&[u16]]) -> Region {
        Region::new(slots.iter().map(|choices| choices.to_vec()).collect()).expect("it is a region")
    }

    #[test]
    fn every_region_arrives_as_it_was_sent_whatever_was_sent_before() {
        let (sent, received) = (Sent::default(), Received::default());
        let all = [
            region(&[&[0, 1], &[2]]),
            region(&[&[0, 1], &[2]]),
            region(&[&[0, 1], &[3]]),
            region(&[&[0, 1]]),
            region(&[&[0, 1], &[2], &[0]]),
            region(&[]),
            region(&[&[0, 1], &[2]]),
        ];
        for region in &all {
            let abi = sent.abi_of(region);
            assert_eq!(*received.region_of(&abi.1).expect("it is a region"), *region);
        }
    }

    #[test]
    fn what_is_no_region_is_an_error_and_the_last_one_stays() {
        let received = Received::default();
        let good = region(&[&[0, 1], &[2]]);
        let abi = region_to_abi(&good);
        assert!(received.region_of(&abi).is_ok());
        let bad: RegionAbi = [RVec::from(vec![0, 1]), RVec::new()].into_iter().collect();
        assert!(received.region_of(&bad).expect_err("a slot has no choice").message.contains("slot 1"));
        assert_eq!(*received.region_of(&abi).expect("it is a region"), good);
    }
}
