//! Chance that can be repeated: a failing test shows its seed, and `GV_TEST_SEED` sets it.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A source of chance of this test's own.
pub fn seeded() -> StdRng {
    let given = std::env::var("GV_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random::<u64>, |seed| seed.parse().expect("GV_TEST_SEED: a number"));
    println!("GV_TEST_SEED={seed} repeats this test's choices");
    StdRng::seed_from_u64(seed)
}
