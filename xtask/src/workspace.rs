//! Where things are, and what `cargo metadata` knows of the packages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process;
use crate::step::Problem;

pub(crate) const EXAMPLES_PACKAGE: &str = "nexios-examples";

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    target: PathBuf,
    metadata: Value,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self, Problem> {
        let mut command = Command::new(cargo());
        command.args(["metadata", "--format-version=1", "--no-deps"]);
        let captured = process::capture(&mut command, Duration::from_mins(2))?;
        let metadata: Value = serde_json::from_str(&captured.stdout)
            .map_err(|_| Problem::failed(format!("cargo metadata: {}", captured.stderr)))?;
        let folder = |key: &str| PathBuf::from(metadata[key].as_str().unwrap_or("."));
        Ok(Self { root: folder("workspace_root"), target: folder("target_directory"), metadata })
    }

    /// `cargo` in the root of the repository.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// A folder for files that the steps install and write; git ignores it.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root.join(".work").join(name)
    }

    /// A folder for what another kind of build makes.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    pub(crate) fn conformance(&self, path: &str) -> PathBuf {
        self.root.join("conformance").join(path)
    }

    pub(crate) fn example_binary(&self, name: &str) -> PathBuf {
        self.target.join("examples/examples").join(name)
    }

    /// Builds the named examples, or all: optimised, but each by itself (the profile `examples`).
    pub(crate) fn build_examples(&self, names: &[&str]) -> Result<(), Problem> {
        let mut command = self.cargo(&["build", "--profile", "examples", "-p", EXAMPLES_PACKAGE]);
        if names.is_empty() {
            command.arg("--examples");
        }
        for name in names {
            command.args(["--example", name]);
        }
        process::run(&mut command, Duration::from_mins(20))
    }

    pub(crate) fn example_names(&self) -> Vec<String> {
        let targets = self.package(EXAMPLES_PACKAGE)["targets"].as_array();
        let examples = targets.into_iter().flatten().filter(|target| target["kind"][0] == "example");
        examples.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect()
    }

    /// The features of a package but `default`.
    pub(crate) fn features(&self, package: &str) -> Vec<String> {
        let features = self.package(package)["features"].as_object();
        let names = features.into_iter().flatten().map(|(name, _)| name.clone());
        names.filter(|name| name != "default").collect()
    }

    fn package(&self, name: &str) -> &Value {
        let packages = self.metadata["packages"].as_array();
        packages.into_iter().flatten().find(|package| package["name"] == name).unwrap_or(&Value::Null)
    }
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
