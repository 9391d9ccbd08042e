//! The report of a scenario: a timeline while it runs, and JSON and JUnit XML at its end.

use crate::testnet::load;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// File name of the report as JSON.
pub const JSON: &str = "report.json";
/// File name of the report as JUnit XML.
const JUNIT: &str = "report.xml";

/// The report of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The name of the scenario.
    pub scenario: String,
    /// What it shows.
    pub title: String,
    /// The start value of the random choices.
    pub seed: u64,
    /// Whether all steps succeeded.
    pub is_success: bool,
    /// Duration of the run in seconds.
    pub seconds: f64,
    /// The steps that were run.
    pub steps: Vec<StepReport>,
    /// The loads that ended.
    pub loads: Vec<load::Report>,
}

/// The outcome of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// The line of the file; 0 for the start of the testnet.
    pub line: usize,
    /// The text of the step.
    pub step: String,
    /// Time from the start of the run to the start of the step, in seconds.
    pub started: f64,
    /// Duration of the step in seconds.
    pub seconds: f64,
    /// What failed; `None` if the step succeeded.
    pub failure: Option<Failure>,
}

/// Why a step failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What was expected, for an assertion.
    pub expected: Option<String>,
    /// What was seen instead, or the error.
    pub seen: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.expected {
            Some(expected) => write!(f, "expected: {expected}; seen: {}", self.seen),
            None => f.write_str(&self.seen),
        }
    }
}

impl StepReport {
    /// The line of the timeline.
    pub fn timeline(&self) -> String {
        let outcome = if self.failure.is_none() { "ok    " } else { "FAILED" };
        format!("{:>7.1} s  {outcome}  {}", self.started, self.step)
    }
}

impl Report {
    /// The failed step, if there is one.
    pub fn failure(&self) -> Option<String> {
        let failed = self.steps.iter().find_map(|step| Some((step, step.failure.as_ref()?)));
        failed.map(|(step, failure)| match step.line {
            0 => format!("{}: {failure}", step.step),
            line => format!("line {line}, step `{}`: {failure}", step.step),
        })
    }

    /// Prints the report as JSON.
    pub fn print(&self) -> Result<()> {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// Writes the report to a directory, as JSON and as JUnit XML.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (name, text) in [(JSON, json), (JUNIT, self.junit())] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// The report as JUnit XML, with a test case for each step.
    fn junit(&self) -> String {
        let failures = self.steps.iter().filter(|step| step.failure.is_some()).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" \
             failures=\"{failures}\" time=\"{:.3}\">\n",
            escape(&self.scenario),
            self.steps.len(),
            self.seconds
        );
        for step in &self.steps {
            let name = escape(&format!("line {}: {}", step.line, step.step));
            let class = escape(&self.scenario);
            let _ = write!(
                xml,
                "  <testcase classname=\"{class}\" name=\"{name}\" time=\"{:.3}\"",
                step.seconds
            );
            match &step.failure {
                None => xml.push_str("/>\n"),
                Some(failure) => {
                    let message = escape(&failure.to_string());
                    let _ = write!(xml, ">\n    <failure message=\"{message}\"/>\n  </testcase>\n");
                }
            }
        }
        xml + "</testsuite>\n"
    }
}

/// Escapes a text for an attribute; characters that XML does not permit are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            other if other.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let step = |line, step: &str, failure| StepReport {
            line,
            step: step.to_owned(),
            started: 1.25,
            seconds: 0.5,
            failure,
        };
        let failure =
            Failure { expected: Some("one tip of all".into()), seen: "a; <b> & c".into() };
        Report {
            scenario: "x".into(),
            title: "t".into(),
            seed: 1,
            is_success: false,
            seconds: 2.0,
            steps: vec![step(7, "heal", None), step(8, "expect one_tip", Some(failure))],
            loads: Vec::new(),
        }
    }

    #[test]
    fn failure_names_step_expected_and_seen() {
        let failure = report().failure().unwrap();
        let expected = "line 8, step `expect one_tip`: expected: one tip of all; seen: a; <b> & c";
        assert_eq!(failure, expected);
        assert_eq!(report().steps[1].timeline(), "    1.2 s  FAILED  expect one_tip");
    }

    #[test]
    fn junit_has_a_case_for_each_step_and_escapes_texts() {
        let xml = report().junit();
        assert!(xml.contains("tests=\"2\" failures=\"1\" time=\"2.000\""), "{xml}");
        assert!(xml.contains("name=\"line 7: heal\" time=\"0.500\"/>"), "{xml}");
        assert!(xml.contains("seen: a; &lt;b&gt; &amp; c\"/>"), "{xml}");
    }
}
