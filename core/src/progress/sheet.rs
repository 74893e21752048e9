//! How rows of a live view are written: names, parts that fit, bars, numbers that do not flicker.

use std::time::Duration;

use console::{measure_text_width, style, truncate_str};

use super::spoken;

/// The room of a row's name.
const LABEL: usize = 10;

/// Of a part of a row that is cut off so much is shown, or nothing.
const WORTH_CUTTING: usize = 20;

/// How rows are written in a terminal.
pub(super) struct Sheet {
    room: usize,
    bar: usize,
}

impl Sheet {
    pub(super) fn of(width: usize) -> Self {
        let bar = match width {
            100.. => 24,
            80..100 => 12,
            _ => 0,
        };
        // A terminal may go to the next row by itself after its last column.
        Sheet { room: width.saturating_sub(LABEL + 3), bar }
    }

    /// A name and as many parts as there is room for.
    pub(super) fn row(&self, label: &str, parts: &[String]) -> String {
        let mut text = String::new();
        for part in parts {
            // What comes from plugins may hold anything.
            let part: String = part.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
            if text.is_empty() {
                text = part;
                continue;
            }
            let room = self.room.saturating_sub(measure_text_width(&text) + 2);
            if measure_text_width(&part) > room && room < WORTH_CUTTING {
                break;
            }
            text += ", ";
            text += &truncate_str(&part, room, "…");
            if measure_text_width(&part) > room {
                break;
            }
        }
        let label: String = label.chars().filter(|letter| !letter.is_control()).collect();
        let label = truncate_str(&label, LABEL, "…");
        let gap = " ".repeat(LABEL - measure_text_width(&label));
        format!("{gap}{}  {}", style(label).bold().for_stderr(), truncate_str(&text, self.room, "…"))
    }

    /// A bar and a space, or nothing where there is no room for it.
    pub(super) fn bar(&self, share: f64) -> String {
        if self.bar == 0 {
            return String::new();
        }
        let full = ((share.clamp(0.0, 1.0) * self.bar as f64) as usize).min(self.bar);
        let tip = if full < self.bar { ">" } else { "" };
        format!("[{:<width$}] ", "=".repeat(full) + tip, width = self.bar)
    }
}

/// Seconds as people say them, whole ones: a fraction would flicker.
pub(super) fn clock(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.0} s"),
        _ => spoken(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// How often something happens.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        100.0.. => format!("{per_second:.0} a second"),
        1.0.. => format!("{per_second:.1} a second"),
        _ => format!("{:.1} a minute", per_second * 60.0),
    }
}
