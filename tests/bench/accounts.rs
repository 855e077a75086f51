//! What the kernel accounts to a program and its children: CPU time and resident
//! memory, read from /proc. The CPU time of a request is what both accounts differ by,
//! divided by the requests; work that the kernel does on their behalf is in it.

use std::fs;

use anyhow::{Context, Result};

/// Clock ticks in a second, as /proc counts them on Linux whatever the kernel's own rate.
const TICKS: f64 = 100.0;

/// CPU time of a program and its living children, in microseconds.
pub(crate) fn cpu(program: u32) -> Result<f64> {
    let mut ticks = 0;
    for id in family(program)? {
        ticks += fields(id)
            .map(|fields| fields.user + fields.system)
            .unwrap_or_default();
    }
    Ok(ticks as f64 / TICKS * 1e6)
}

/// CPU time of this program without its children, in microseconds.
pub(crate) fn own_cpu() -> f64 {
    let ticks = fields(std::process::id()).map_or(0, |fields| fields.user + fields.system);
    ticks as f64 / TICKS * 1e6
}

/// Resident memory of a program and its living children, in bytes.
pub(crate) fn memory(program: u32) -> Result<u64> {
    let mut kilobytes = 0;
    for id in family(program)? {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        kilobytes += status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS")?
            .parse::<u64>()?;
    }
    Ok(kilobytes * 1024)
}

/// Open files of a program, without its children.
pub(crate) fn descriptors(program: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{program}/fd"))?.count())
}

/// CPU time that the whole machine was busy, and that its host kept from it, in microseconds.
pub(crate) fn machine() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .context("no cpu line")?
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse().ok())
        .collect();
    // proc(5): user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("an unknown /proc/stat");
    };
    let microseconds = |ticks: u64| ticks as f64 / TICKS * 1e6;
    Ok((
        microseconds(user + nice + system + irq + softirq),
        microseconds(steal),
    ))
}

/// The model of the first processor.
pub(crate) fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned())
}

struct Fields {
    parent: u32,
    user: u64,
    system: u64,
}

/// The program, its children, theirs, and so on.
pub(crate) fn family(program: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(fields) = fields(id)
        {
            parents.push((id, fields.parent));
        }
    }
    let mut found = vec![program];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(id, _)| *id),
        );
        next += 1;
    }
    Ok(found)
}

/// `None` when it has ended.
fn fields(id: u32) -> Option<Fields> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Fields> {
    // The name may hold spaces and brackets; what counts follows its last bracket: field 3 on.
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Fields {
        parent: words.get(1)?.parse().ok()?,
        user: words.get(11)?.parse().ok()?,
        system: words.get(12)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) (b c)) S 7 42 42 0 -1 4194304 100 0 0 0 1500 250 0 0 20 0 1 0 100 0 0";
        let fields = parse(line).unwrap();
        assert_eq!((fields.parent, fields.user, fields.system), (7, 1500, 250));
    }

    #[test]
    fn a_child_is_found_below_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("5")
            .spawn()
            .unwrap();
        let found = family(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()));
    }
}
