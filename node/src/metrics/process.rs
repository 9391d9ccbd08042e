//! Process metrics from the operating system, under the standard names of Prometheus client libraries.
//! Linux only: elsewhere there are none.
//! Source: proc(5); Prometheus documentation, "Writing client libraries", process metrics.

use super::exposition::Page;

/// Writes the process metrics.
#[cfg(not(target_os = "linux"))]
pub fn show(_page: &mut Page) {}

/// Writes the process metrics.
#[cfg(target_os = "linux")]
pub fn show(page: &mut Page) {
    use rustix::process::{Resource, getrlimit};
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(stat) = Stat::parse(&read("/proc/self/stat")) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = rustix::param::page_size() as u64;
        page.counter(
            "process_cpu_seconds_total",
            "CPU time used, user and system.",
            stat.cpu_ticks as f64 / ticks,
        );
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory size.",
            stat.resident_pages.saturating_mul(page_bytes),
        );
        page.gauge("process_virtual_memory_bytes", "Virtual memory size.", stat.virtual_bytes);
        if let Some(boot) = boot_time(&read("/proc/stat")) {
            page.gauge(
                "process_start_time_seconds",
                "Start time of the process, Unix seconds.",
                boot as f64 + stat.start_ticks as f64 / ticks,
            );
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder's own.
        page.gauge("process_open_fds", "Open file descriptors.", open.count().saturating_sub(1));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.gauge("process_max_fds", "Limit of open file descriptors.", most);
    }
}

/// The fields of `/proc/PID/stat` in use.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// The start of the process, in clock ticks since boot.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered as in the manual, where the one behind the name is 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The boot time of the machine, Unix seconds.
#[cfg(target_os = "linux")]
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 \
                    12345 1000000 300 18446744073709551615 0";
        let expected = Stat {
            cpu_ticks: 300,
            start_ticks: 12_345,
            virtual_bytes: 1_000_000,
            resident_pages: 300,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn this_process_is_shown() {
        let mut page = Page::default();
        show(&mut page);
        let text = page.into_text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let age = f64::from(crate::clock::now().get()) - value("process_start_time_seconds");
        // A machine that sleeps, or whose clock is set, knows its start only so well.
        assert!(age > -3_600.0, "{age}");
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
