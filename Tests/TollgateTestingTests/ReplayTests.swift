// Replays: the same text each time, failures that name their seed; and what scripts/replay-seed runs.
import AdmissionCore
import Foundation
import PolicyLab
import Testing

@testable import TollgateTesting

@Suite struct ReplayTests {
  private static func value(_ name: String) -> String? {
    ProcessInfo.processInfo.environment["TOLLGATE_REPLAY_" + name]
  }

  /// What `scripts/replay-seed` runs.
  @Test(.enabled(if: value("SEED") != nil)) func replaysTheSeedThatWasAskedFor() throws {
    let seed = try #require(Self.value("SEED").flatMap { UInt64($0) }, "a seed is a whole number of 64 bits")
    let size = Self.value("SIZE").flatMap { Int($0) } ?? 12
    let text =
      Self.value("SUBJECT") == "naive"
      ? ScenarioReplay.run(NaiveAdmission<NoDefect>.self, seed: seed, size: size)
      : ScenarioReplay.run(seed: seed, size: size)
    if let path = Self.value("OUT") { try text.write(toFile: path, atomically: true, encoding: .utf8) }
    #expect(!text.contains("BROKEN"))
  }

  @Test func aReplayIsTheSameEachTimeAndTellsTheWholeStory() {
    let text = ScenarioReplay.run(NaiveAdmission<NoDefect>.self, seed: 5)
    #expect(text == ScenarioReplay.run(NaiveAdmission<NoDefect>.self, seed: 5))
    for part in ["provider alpha", "submitted 1 ", "grant 1 ", "conclude", "drained", "trace hash", "no rule broken"] {
      #expect(text.contains(part), "\(part) is missing in\n\(text)")
    }
    #expect(text != ScenarioReplay.run(NaiveAdmission<NoDefect>.self, seed: 6))
  }

  @Test func aFailureNamesItsSeedAndHowToReplayIt() {
    typealias Broken = NaiveAdmission<BrokenSubjects.OvershootsByOne>
    let failures = ScenarioReplay.failures(of: Broken.self, seeds: 0..<100 as Range<UInt64>, most: 2)
    #expect(failures.count == 2)
    for failure in failures {
      #expect("\(failure)".contains("scripts/replay-seed \(failure.seed)"))
      #expect(ScenarioReplay.run(Broken.self, seed: failure.seed).contains("BROKEN concurrency_limit"))
    }
  }
}
