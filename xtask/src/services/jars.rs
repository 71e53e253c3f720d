//! Kafka's own jars, through Maven, once per checkout.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{process, workspace};

const KAFKA: &str = "4.1.0";
const LOG4J: &str = "2.24.3";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder with all jars. `java -cp 'libs/*' org.apache.kafka.tools.TopicCommand` works with it.
pub(crate) fn libs() -> PathBuf {
    workspace::services_dir()
        .join(format!("kafka-{KAFKA}"))
        .join("libs")
}

/// Whether all jars of the present list are there.
///
/// The list lies beside them, and the folder gets its name only when it is complete: a killed
/// download or a changed list counts as nothing.
pub(crate) fn are_complete() -> bool {
    fs::read_to_string(libs().join("pom.xml")).is_ok_and(|pom| pom == project())
}

/// Download the jars if they are not there.
pub(crate) fn provide() -> Result<()> {
    if are_complete() {
        return Ok(());
    }
    eprintln!("fetching Kafka {KAFKA} through Maven (once, about 45 MB)");
    let (libs, partial) = (libs(), libs().with_extension("partial"));
    for stale in [&libs, &partial] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    fs::create_dir_all(&partial)?;
    fs::write(partial.join("pom.xml"), project())?;
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-ntp", "-f"])
        .arg(partial.join("pom.xml"))
        .arg(COPY);
    maven
        .arg("-DincludeScope=runtime")
        .arg(format!("-DoutputDirectory={}", partial.display()));
    process::run_logged(&mut maven, &libs.with_file_name("maven.log"))?;
    fs::rename(&partial, &libs).with_context(|| format!("cannot make {}", libs.display()))
}

/// A Maven project that depends on the broker and its tools, and on what writes their logs.
fn project() -> String {
    format!(
        "\
<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>athomic</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>{KAFKA}</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.kafka</groupId>
          <artifactId>connect-runtime</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-core</artifactId>
      <version>{LOG4J}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}
