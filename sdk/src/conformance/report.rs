//! What came of the checks of one component, for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Check, component};
use crate::{component::Kind, error::Error};

/// What came of the checks of one component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `plugin/component`.
    pub component: String,
    /// Its kind.
    pub kind: Kind,
    /// One for each promise that was tried.
    pub findings: Vec<Finding>,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// What was done.
    pub tried: String,
    /// What must come of it.
    pub expected: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// What was expected.
    Kept,
    /// Something else.
    Broken {
        /// What came back.
        found: String,
    },
    /// It does not apply, or something that it needs is not there.
    NotTried {
        /// Which of the two, and what.
        why: String,
    },
}

impl Finding {
    /// What came of a check.
    pub fn new(check: &Check, verdict: Verdict) -> Self {
        Finding {
            check: check.name.to_owned(),
            tried: check.tried.to_owned(),
            expected: check.expected.to_owned(),
            verdict,
        }
    }
}

impl Report {
    /// A report without findings.
    pub fn new(component: String, kind: Kind) -> Self {
        Report { component, kind, findings: Vec::new() }
    }

    /// The report of a component that cannot even say what it is.
    pub(super) fn of_undescribed(component: &str, kind: Kind, error: &Error) -> Self {
        let verdict = Verdict::Broken { found: error.to_string() };
        let findings = vec![Finding::new(&component::CHECKS[0], verdict)];
        Report { findings, ..Report::new(component.to_owned(), kind) }
    }

    /// The promises that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Broken { .. }))
    }

    /// Whether the component could not be built because of what it needs and has not.
    pub fn is_untried(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.check == component::BUILDS && matches!(finding.verdict, Verdict::NotTried { .. }))
    }

    /// Ends a test with the whole report unless every promise was tried and kept.
    ///
    /// # Panics
    ///
    /// If a promise was broken, or the component could not be built.
    pub fn assert(&self) {
        assert!(self.broken().next().is_none() && !self.is_untried(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: fn(&Verdict) -> bool| self.findings.iter().filter(|finding| of(&finding.verdict)).count();
        let kept = count(|verdict| matches!(verdict, Verdict::Kept));
        let broken = count(|verdict| matches!(verdict, Verdict::Broken { .. }));
        write!(formatter, "{} ({}): {kept} promises kept, {broken} broken", self.component, self.kind)?;
        for Finding { check, tried, expected, verdict } in &self.findings {
            match verdict {
                Verdict::Kept => write!(formatter, "\n  kept       {check}")?,
                Verdict::NotTried { why } => write!(formatter, "\n  not tried  {check}: {why}")?,
                Verdict::Broken { found } => {
                    write!(formatter, "\n  BROKEN     {check}")?;
                    for (what, text) in [("tried", tried), ("expected", expected), ("found", found)] {
                        write!(formatter, "\n               {what:<9} {text}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
