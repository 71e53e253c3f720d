//! Whatever the bytes: no decoder panics, none makes more of them than it may, and none takes memory by what they
//! claim. Each target of `athomic_core::testing::fuzz` reads its corpus in `fuzz/corpus`, and changes of it by a seed.
//!
//! A program of its own, since the counter of memory is the program's allocator. What a failure prints is the input;
//! put it into the corpus. `UPDATE_CORPUS=1` writes the samples and bombs anew that are made by code.

use std::fs;
use std::path::PathBuf;

use athomic_core::testing::fuzz::{LIMIT, TARGETS, Target};

/// How many changed inputs each target reads.
const CHANGES: usize = 400;
/// How large a changed input may be.
const LARGEST: usize = 4 << 10;
/// The most memory at once: a payload at its limit while its room is doubled, with blocks of 4 MiB that a format may
/// ask for, and what values take besides.
const MEMORY: u64 = 24 << 20;

fn folder(target: &Target) -> PathBuf {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    fuzz.join("corpus").join(target.name)
}

/// Read the corpus of a target; its order does not depend on the file system.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).expect("it can be read"))
        .collect()
}

/// Random numbers that are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).expect("it is below a length")
    }

    /// Change an input a little, or put parts of two together.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        const NUMBERS: [u64; 6] = [0, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
        for _ in 0..=self.below(3) {
            let (place, end) = (self.below(input.len()), self.below(input.len() + 1));
            let (place, end) = (place.min(end), place.max(end));
            match self.below(7) {
                0 => input.truncate(end),
                1 => input.extend_from_slice(&other[self.below(other.len() + 1)..]),
                2 => drop(input.drain(place..end.min(place + 8))),
                3 => {
                    let part = input[place..end].to_vec();
                    input.splice(place..place, part);
                }
                4 => {
                    let number = NUMBERS[self.below(NUMBERS.len())].to_be_bytes();
                    let width = [1, 2, 4, 8][self.below(4)];
                    let end = (place + width).min(input.len());
                    input.splice(place..end, number[8 - width..].iter().copied());
                }
                5 => input.insert(place, self.number().to_le_bytes()[0]),
                _ => {
                    if let Some(byte) = input.get_mut(place) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        input.truncate(LARGEST);
    }
}

/// Feed a target and watch the memory.
fn feed(target: &Target, input: &[u8]) {
    let fed = std::panic::AssertUnwindSafe(|| target.feed(input));
    let mut ended = Ok(false);
    let measured = allocation_counter::measure(|| ended = std::panic::catch_unwind(fed));
    let shown = || format!("`{}` with {:02x?}", target.name, &input[..input.len().min(400)]);
    assert!(ended.is_ok(), "{} panics", shown());
    let most = MEMORY.max(LIMIT as u64);
    assert!(
        measured.bytes_max <= most,
        "{} takes {} bytes",
        shown(),
        measured.bytes_max
    );
}

#[test]
fn no_bytes_make_a_decoder_panic_or_take_memory_that_they_only_claim() {
    // A stack as small as a worker's of tokio: what is nested too deep ends the process.
    let all = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        for target in TARGETS {
            let corpus = corpus(target);
            assert!(corpus.len() > 1, "`{}` has a corpus", target.name);
            corpus.iter().for_each(|input| feed(target, input));
            let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
            for _ in 0..CHANGES {
                let mut input = corpus[chance.below(corpus.len())].clone();
                input.truncate(LARGEST);
                let other = &corpus[chance.below(corpus.len())];
                chance.change(&mut input, other);
                feed(target, &input);
            }
        }
    });
    all.unwrap().join().unwrap();
}

/// The first of each corpus is what the decoder itself reads: else the changes would only ever be refused at once.
#[test]
fn every_target_has_a_program_and_reads_its_sample() {
    for target in TARGETS {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/fuzz_targets")
            .join(format!("{}.rs", target.name));
        let text =
            fs::read_to_string(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            text.contains(&format!("\"{}\"", target.name)),
            "{}",
            program.display()
        );
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(folder(target).join("sample"), target.sample()).unwrap();
        }
        let sample = fs::read(folder(target).join("sample")).unwrap();
        assert!(target.feed(&sample), "`{}` reads its sample", target.name);
    }
}
