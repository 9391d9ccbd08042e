//! Runs the steps of a scenario on a testnet of its own.

use super::expect;
use super::file::Scenario;
use super::report::{Failure, Report, StepReport};
use super::step::{DiskAction, Exec, Expect, Nodes, ScenarioLoad, Step, Switch, Timed, Upgrade};
use super::world::World;
use super::{mine, step, transfers};
use crate::cli::node::block_on;
use crate::cli::testnet::args::notice_threads;
use crate::snapshot::Copier;
use crate::testnet::load::{self, Load, Targets};
use crate::testnet::topology::NodeNumber;
use crate::testnet::{
    Directory, Process, Testnet, disk, links, partition, process, snapshot, wait,
};
use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(50);
/// Time limit of a request of an assertion.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Longest output of another program in a report, in bytes.
const MAX_OUTPUT: usize = 500;

/// Runs a scenario.
pub struct Runner {
    bar: ProgressBar,
    start: Instant,
    is_quiet: bool,
    steps: Vec<StepReport>,
}

impl Runner {
    /// Runs a scenario in a directory; the testnet is removed at the end unless it is kept.
    pub fn run(
        scenario: &Scenario,
        name: &str,
        directory: &Path,
        (seed, is_kept): (u64, bool),
        is_quiet: bool,
    ) -> Result<Report> {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut runner = Runner { bar, start: Instant::now(), is_quiet, steps: Vec::new() };
        let testnet = Directory::at(directory.join("testnet"));
        let _guard = if is_kept { None } else { Some(Guard::new(&testnet)?) };
        let mut world = None;
        runner.step(0, "start of the testnet", || {
            let set_up = set_up(scenario, &testnet, seed)?;
            notice_threads(set_up.testnet());
            world = Some(set_up);
            Ok(None)
        })?;
        let mut loads = Vec::new();
        if let Some(mut world) = world {
            if runner.run_steps(scenario, &mut world)? && world.has_loads() {
                runner.step(0, "end of the loads", || world.finish_loads().map(|()| None))?;
            }
            loads = world.load_reports;
        }
        runner.bar.finish_and_clear();
        tear_down(&testnet, directory, is_kept)?;
        let Runner { start, steps, .. } = runner;
        Ok(Report {
            scenario: name.to_owned(),
            title: scenario.title.clone(),
            seed,
            is_success: steps.iter().all(|step| step.failure.is_none()),
            seconds: start.elapsed().as_secs_f64(),
            steps,
            loads,
        })
    }

    /// Runs the steps until one fails; returns whether all succeeded.
    fn run_steps(&mut self, scenario: &Scenario, world: &mut World) -> Result<bool> {
        let start = Instant::now();
        for timed in &scenario.steps {
            thread::sleep(timed.at.saturating_sub(start.elapsed()).min(world.time_left()));
            let limit = scenario.limit;
            let is_success = self.step(timed.line, &timed.text, || {
                if world.is_late() {
                    bail!("the time limit of {} s has passed", limit.as_secs());
                }
                perform(world, timed)
            })?;
            if !is_success {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a step, prints its line of the timeline, and returns whether it succeeded.
    fn step(
        &mut self,
        line: usize,
        text: &str,
        action: impl FnOnce() -> Result<Option<Failure>>,
    ) -> Result<bool> {
        self.bar.set_message(text.to_owned());
        let started = Instant::now();
        let failure = action()
            .unwrap_or_else(|error| Some(Failure { expected: None, seen: format!("{error:#}") }));
        let report = StepReport {
            line,
            step: text.to_owned(),
            started: (started - self.start).as_secs_f64(),
            seconds: started.elapsed().as_secs_f64(),
            failure,
        };
        let is_success = report.failure.is_none();
        if !self.is_quiet {
            let timeline = report.timeline();
            self.bar.suspend(|| writeln!(io::stdout(), "{timeline}"))?;
        }
        self.steps.push(report);
        Ok(is_success)
    }
}

/// A process that removes the testnet once this one has ended, however it ends.
struct Guard(Child);

impl Guard {
    fn new(testnet: &Directory) -> Result<Guard> {
        let mut command = Command::new(process::this_program()?);
        command.args(["testnet", "--dir"]).arg(testnet.path());
        command.args(["down", "--delete", "--when-input-ends"]);
        // A process group of its own: what interrupts this process does not interrupt it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Guard).context("cannot start a process")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It only fails if the process is not a child of this one.
        let _ = self.0.wait();
    }
}

/// Creates and starts the testnet.
fn set_up(scenario: &Scenario, directory: &Directory, seed: u64) -> Result<World> {
    let deadline = Instant::now() + scenario.limit;
    let lock = directory.lock(|| ())?;
    let mut testnet = Testnet::open_or_create(&lock, &scenario.options)?;
    links::Links { seed, ..links::Links::default() }.write(testnet.directory())?;
    for number in testnet.manifest().numbers().collect::<Vec<_>>() {
        if let Some(binary) = scenario.binaries.get(&usize::from(number)) {
            testnet.set_binary(number, Some(binary.clone()))?;
        }
        if let Some(size) = scenario.disks.get(&usize::from(number)) {
            testnet.set_disk(number, *size)?;
        }
    }
    let all: Vec<NodeNumber> = testnet.manifest().numbers().collect();
    let mut world = World::new(testnet, lock, deadline);
    block_on(world.start_nodes(&all))?;
    Ok(world)
}

/// Copies the logs to the directory of the report, and ends the testnet unless it is kept.
fn tear_down(testnet: &Directory, report: &Path, is_kept: bool) -> Result<()> {
    let lock = testnet.lock(|| ())?;
    for entry in fs::read_dir(testnet.path())? {
        let entry = entry?.path();
        for log in [process::LOG, links::LOG] {
            if entry.join(log).is_file() {
                let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
                fs::copy(entry.join(log), report.join(format!("{name}.log")))?;
            }
        }
    }
    if is_kept {
        return Ok(());
    }
    let running = lock.processes()?;
    block_on(wait::stop(running, |_, _| Ok(())))?;
    if let Some(relay) = Process::find(&testnet.relay())? {
        block_on(wait::stop(vec![("relay", relay)], |_, _| Ok(())))?;
    }
    lock.delete().map(drop)
}

fn perform(world: &mut World, timed: &Timed) -> Result<Option<Failure>> {
    match &timed.step {
        Step::Expect(expect) => return block_on(wait_for(world, expect, &timed.text)),
        Step::Exec(exec) => return execute(world, exec),
        Step::Link(link) => drop(link.set(&world.testnet)?),
        Step::Partition(partition) => drop(block_on(partition.set(&world.testnet))?),
        Step::Heal => block_on(partition::heal(&world.testnet))?,
        Step::Skew(skew) => block_on(skew.set(&world.testnet))?,
        Step::Pause(nodes) => each(world, nodes, Process::pause)?,
        Step::Resume(nodes) => each(world, nodes, Process::resume)?,
        Step::Stop(Nodes { nodes }) => {
            let processes = world.testnet.processes(&select(world, nodes)?)?;
            block_on(wait::stop(processes, |_, _| Ok(())))?;
        }
        Step::Kill(Nodes { nodes }) => {
            let processes = world.testnet.processes(&select(world, nodes)?)?;
            block_on(wait::kill(processes, |_, _| Ok(())))?;
        }
        Step::Start(Nodes { nodes }) => {
            let numbers = select(world, nodes)?;
            block_on(world.start_nodes(&numbers))?;
        }
        Step::Snapshot(step::Snapshot { name }) => {
            snapshot::take(&world.testnet, name, &Copier::default())?;
        }
        Step::Revert(step::Snapshot { name }) => block_on(world.revert(name))?,
        Step::Upgrade(upgrade) => self::upgrade(world, upgrade)?,
        Step::Mine(step) => block_on(mine::mine(world, world.number(&step.node)?, step.blocks))?,
        Step::Power(step::Power { node, power }) => set_power(world, node, *power)?,
        Step::Selfish(step::Selfish { node, duration }) => {
            block_on(mine::selfish(world, world.number(node)?, *duration))?;
        }
        Step::Invalidate(step) => block_on(invalidate(world, step))?,
        Step::Pay(pay) => block_on(transfers::pay(world, pay))?,
        Step::Load(load) => start_load(world, load)?,
        Step::Disk(step::Disk { node, action }) => {
            let number = world.number(node)?;
            match action {
                DiskAction::Fill => {
                    disk::fill(world.testnet.directory(), world.testnet.manifest(), number)?;
                }
                DiskAction::Free => {
                    disk::free(world.testnet.directory(), world.testnet.manifest(), number)?;
                }
            }
        }
        Step::Wait(wait) => thread::sleep(wait.duration.min(world.time_left())),
    }
    Ok(None)
}

fn select(world: &World, names: &[String]) -> Result<Vec<NodeNumber>> {
    world.numbers(&names.join(","))
}

fn each(world: &World, nodes: &Nodes, action: impl Fn(&Process) -> Result<()>) -> Result<()> {
    let processes = world.testnet.processes(&select(world, &nodes.nodes)?)?;
    processes.iter().try_for_each(|(_, process)| action(process))
}

fn set_power(world: &World, list: &str, power: Switch) -> Result<()> {
    for number in world.numbers(list)? {
        block_on(mine::set_power(world, number, power))?;
    }
    Ok(())
}

/// Restarts nodes one after the other, with another program.
fn upgrade(world: &mut World, upgrade: &Upgrade) -> Result<()> {
    for number in select(world, &upgrade.nodes)? {
        let process = world.testnet.processes(&[number])?;
        block_on(wait::stop(process, |_, _| Ok(())))?;
        world.testnet.set_binary(number, upgrade.binary.clone())?;
        block_on(world.start_nodes(&[number]))?;
    }
    Ok(())
}

async fn invalidate(world: &World, step: &step::Invalidate) -> Result<()> {
    let path = ["blocks", &step.height.to_string()];
    for number in world.numbers(&step.node)? {
        let client = world.client(number)?;
        let block: serde_json::Value = client.get(&path).await?.json()?;
        let body = json!({ "hash": block["hash"] });
        client.create(&["dev", "invalidate"], &body, REQUEST_LIMIT).await?;
    }
    Ok(())
}

fn start_load(world: &mut World, step: &ScenarioLoad) -> Result<()> {
    let drain = world.time_left().saturating_sub(step.load.duration);
    let load = Load { drain, ..step.load.load() };
    let targets = Targets::of(&world.testnet)?;
    let run = move || block_on(load::run(&targets, load, |_| ()));
    if step.background {
        world.loads.push(thread::spawn(run));
        return Ok(());
    }
    let report = run()?;
    ensure!(
        report.accepted > 0,
        "no transfer was accepted: {}",
        report.first_error.as_deref().unwrap_or("none was submitted")
    );
    world.load_reports.push(report);
    Ok(())
}

/// Waits until the assertion of a step holds.
async fn wait_for(world: &mut World, expect: &Expect, text: &str) -> Result<Option<Failure>> {
    let start = Instant::now();
    let within = expect.within.min(world.time_left());
    loop {
        let outcome = expect::check(world, &expect.assertion).await;
        let failure = match outcome {
            Ok(None) => return Ok(None),
            Ok(Some(difference)) => {
                Failure { expected: Some(difference.expected), seen: difference.seen }
            }
            // A node may not respond for a moment.
            Err(error) => {
                let expected = text.trim_start_matches("expect ").to_owned();
                Failure { expected: Some(expected), seen: format!("{error:#}") }
            }
        };
        if start.elapsed() >= within {
            return Ok(Some(failure));
        }
        sleep(POLL).await;
    }
}

/// Runs another program with the addresses of the nodes in its environment.
fn execute(world: &World, exec: &Exec) -> Result<Option<Failure>> {
    let (program, arguments) = exec.command.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.env("CHAIN_TESTNET_DIR", world.testnet.directory().path());
    command.env("CHAIN", process::this_program()?);
    for number in world.testnet.manifest().numbers() {
        let name = format!("NODE_{}", usize::from(number));
        command.env(name, world.testnet.manifest().node(number).api_url());
    }
    let (output, path) = (tempfile::NamedTempFile::new()?, PathBuf::from(program));
    let file = output.as_file();
    command.stdout(file.try_clone()?).stderr(file.try_clone()?);
    let context = || format!("cannot execute {}", path.display());
    let mut child = command.spawn().with_context(context)?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if world.is_late() {
            child.kill()?;
            child.wait()?;
            bail!("{program} has not ended within the time limit of the scenario");
        }
        thread::sleep(POLL);
    };
    if status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&fs::read(output.path())?).into_owned();
    let end = text.trim_end();
    let start = end.ceil_char_boundary(end.len().saturating_sub(MAX_OUTPUT));
    let expected = Some(format!("{program} exits with 0"));
    Ok(Some(Failure { expected, seen: format!("{status}: {}", &end[start..]) }))
}
