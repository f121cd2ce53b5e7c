// The journal: entries come back as they were, cut frames end the reading, files take turns, another ledger's entries stay out.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct JournalTests {
  private let place = Place()

  private static let changed = LedgerEntry.changed(
    LedgerChange(
      at: Scene.at(3), subject: .budget, name: "acme/day", state: .raised, reason: "Ünïcode", askedBy: "root",
      amount: Money(nanodollars: -5), until: Scene.at(9)))

  private func entries(_ count: Int) -> [LedgerEntry] {
    var all: [LedgerEntry] = []
    for number in 1...count {
      let clientKey: ClientKeyID? = number % 2 == 0 ? "abc" : nil
      let key: KeyID? = number % 3 == 0 ? nil : "k"
      all.append(Scene.held(number, clientKey: clientKey, key: key, held: nil))
      all.append(Scene.settled(number, cost: number % 2 == 0 ? nil : .max))
      all.append(Scene.concluded(number))
      all.append(Self.changed)
    }
    return all
  }

  private func contents() throws -> [Journal.Frame] {
    try Journal.contents(path: place.path(), ledger: 7).frames.filter { !$0.entries.isEmpty }
  }
  private func damage() throws -> [Journal.Damage] { try Journal.contents(path: place.path(), ledger: 7).damage }

  @Test func entriesComeBackAsTheyWere() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let some = entries(20)
    #expect(journal.append(EntryBatch(some), first: 5) == nil)
    #expect(journal.append(EntryBatch([Self.changed]), first: 85) == nil)
    let frames = try contents()
    #expect(frames.map(\.first) == [5, 85])
    #expect(frames.first?.entries == some)
    #expect(frames.last?.entries == [Self.changed])
  }

  @Test func twoEndsInOneEntryComeBack() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    var some = [
      try Scene.finished(1), try Scene.finished(2, attempt: 3, clientKey: "abc", key: nil, cost: nil, sent: false),
    ]
    // Names of all lengths, and times as no clock gives them.
    for length in [0, 1, 7, 8, 9, 15, 16, 17, 300] {
      for times in [(Int64.min, Int64.max), (.max, .min), (0, -1)] {
        let ends = some[1].apart
        var end = try #require(ends[1].requestEnd)
        var attempt = try #require(ends[0].end)
        end.session = SessionID(String(repeating: "é", count: length / 2) + String(repeating: "x", count: length % 2))
        end.arrived = WallInstant(nanoseconds: times.0)
        end.ended = WallInstant(nanoseconds: times.1)
        attempt.at = end.ended
        attempt.audioMilliseconds = times.0
        attempt.serviceTier = String(repeating: "t", count: length)
        some.append(.finished(end, lastAttempt: attempt))
      }
    }
    #expect(some.count == 29)
    #expect(journal.append(EntryBatch(some), first: 1) == nil)
    try #expect(contents().first?.entries == some)
  }

  /// What version 0.1.0 left is read, beside what this one writes.
  @Test func framesOfVersion010AreRead() throws {
    let bytes = [UInt8](try Data(contentsOf: EarlierLedger.file("ledger-0.1.0.ahead-0")))
    var old = Journal.Contents()
    Journal.scan(bytes, of: "a", ledger: EarlierLedger.number, into: &old)
    #expect(old.damage.isEmpty && old.frames.map(\.first).first == 1)
    #expect(old.frames.reduce(0) { $0 + $1.entries.count } == 47)
    #expect(old.frames.flatMap(\.entries).compactMap(\.hold).count == 19)
    // One damaged byte anywhere is found in them as it was.
    for index in stride(from: 0, to: bytes.count, by: 41) {
      var spoiled = bytes
      spoiled[index] ^= 0x08
      var contents = Journal.Contents()
      Journal.scan(spoiled, of: "a", ledger: EarlierLedger.number, into: &contents)
      #expect(contents.frames.count == old.frames.count - 1, "changed at \(index)")
      #expect(contents.damage.count == 1, "changed at \(index)")
    }
  }

  @Test func numbersOfEverySizeComeBack() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let amounts: [Int64] = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, .max, .min]
    let some = amounts.map { amount in
      LedgerEntry.changed(
        LedgerChange(at: Scene.at(0), subject: .key, name: "", state: .cooling, amount: Money(nanodollars: amount)))
    }
    #expect(journal.append(EntryBatch(some), first: 1) == nil)
    try #expect(contents().first?.entries == some)
  }

  @Test func aFrameThatIsCutAnywhereEndsTheReading() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(1)), first: 1) == nil)
    let name = Journal.name(place.path(), 0)
    let whole = try Data(contentsOf: URL(fileURLWithPath: name)).count
    #expect(journal.append(EntryBatch(entries(1)), first: 5) == nil)
    let both = try Data(contentsOf: URL(fileURLWithPath: name))
    for length in whole..<both.count {
      try both.prefix(length).write(to: URL(fileURLWithPath: name))
      try #expect(contents().map(\.first) == [1], "cut at \(length)")
      // Nobody was told that a last frame that is not whole is safe.
      try #expect(damage().isEmpty, "cut at \(length)")
    }
    // And where a byte is another: that is damage, wherever it is.
    for index in stride(from: whole, to: both.count, by: 3) {
      var bytes = both
      bytes[index] ^= 0x10
      try bytes.write(to: URL(fileURLWithPath: name))
      try #expect(contents().map(\.first) == [1], "changed at \(index)")
      try #expect(
        damage() == [Journal.Damage(file: name, offset: whole, bytes: both.count - whole)], "changed at \(index)")
    }
  }

  @Test func framesBehindDamageAreFound() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let name = Journal.name(place.path(), 0)
    func size() throws -> Int { try Data(contentsOf: URL(fileURLWithPath: name)).count }
    #expect(journal.append(EntryBatch(entries(1)), first: 1) == nil)
    let begin = try size()
    #expect(journal.append(EntryBatch(entries(2)), first: 5) == nil)
    let end = try size()
    #expect(journal.append(EntryBatch(entries(1)), first: 13) == nil)
    let all = try Data(contentsOf: URL(fileURLWithPath: name))
    for index in stride(from: begin, to: end, by: 7) {
      var bytes = all
      bytes[index] ^= 0x01
      try bytes.write(to: URL(fileURLWithPath: name))
      try #expect(contents().map(\.first) == [1, 13], "changed at \(index)")
      try #expect(damage() == [Journal.Damage(file: name, offset: begin, bytes: end - begin)], "changed at \(index)")
    }
    // A piece that is missing in the middle.
    try (all.prefix(begin + 20) + all.dropFirst(end)).write(to: URL(fileURLWithPath: name))
    try #expect(contents().map(\.first) == [1, 13])
    try #expect(damage() == [Journal.Damage(file: name, offset: begin, bytes: 20)])
    // A megabyte that looks like the heads of frames is passed over in one go.
    var hostile = Data()
    for _ in 0..<35_000 { hostile += all.prefix(29) + [0xFF] }
    try (all.prefix(begin) + hostile + all.dropFirst(end)).write(to: URL(fileURLWithPath: name))
    try #expect(contents().map(\.first) == [1, 13])
    try #expect(damage().map(\.bytes) == [hostile.count])
  }

  @Test func anEmptiedFileTellsTheNextNumber() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(1)), first: 41) == nil)
    journal.applied(through: 44)
    func all() throws -> [Journal.Frame] { try Journal.contents(path: place.path(), ledger: 7).frames }
    try #expect(all().map(\.first) == [45])
    try #expect(all().map(\.next) == [45])
    journal.applied(through: 44)
    #expect(journal.append(EntryBatch(entries(1)), first: 45) == nil)
    try #expect(all().map(\.next) == [45, 49])
    journal.clear(next: 90)
    try #expect(all().map(\.first) == [90])
    try #expect(damage().isEmpty)
  }

  @Test func anotherLedgersEntriesStayOut() throws {
    let other = try Journal(path: place.path(), ledger: 8)
    #expect(other.append(EntryBatch(entries(1)), first: 1) == nil)
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(2)), first: 5) == nil)
    try #expect(contents().map(\.first) == [5])
    try #expect(damage().map(\.isOfAnotherLedger) == [true])
  }

  @Test func filesTakeTurnsAndAreEmptiedWhenTheDatabaseHasThem() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let some = entries(500)
    var number: UInt64 = 1
    func size(_ index: Int) throws -> Int {
      try Data(contentsOf: URL(fileURLWithPath: Journal.name(place.path(), index))).count
    }
    while try size(1) == 0 {
      #expect(journal.append(EntryBatch(some), first: number) == nil)
      number += UInt64(some.count)
    }
    try #expect(size(0) >= 4 << 20)
    let firstFile = number - 1 - UInt64(some.count)
    journal.applied(through: firstFile - 1)
    try #expect(size(0) > 0)
    journal.applied(through: firstFile)
    try #expect(size(0) == 0 && size(1) > 100)
    try #expect(contents().map(\.first) == [firstFile + 1])
    journal.applied(through: number - 1)
    try #expect(contents().isEmpty)
  }

  @Test func anotherVersionsEntriesAreNotLostInSilence() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(1)), first: 1) == nil)
    let file = URL(fileURLWithPath: Journal.name(place.path(), 0))
    let first = try Data(contentsOf: file).count
    #expect(journal.append(EntryBatch(entries(1)), first: 5) == nil)
    var bytes = try Data(contentsOf: file)
    for head in [0, first] { bytes[head] = 0xA0 | (EntryCoding.version + 1) }
    try bytes.write(to: file)
    let trouble = #expect(throws: LedgerError.self) { try contents() }
    #expect(trouble?.kind == .unusable)
    #expect(trouble?.description.contains("start that version once") == true)
    // And where there is one frame alone, whose entries are coded in another way.
    bytes = bytes.prefix(first)
    let start = Journal.payloadStart
    bytes[start + 16] = 0xFF
    let payload = Array(bytes)[start...]
    let sum = Journal.checksum(payload.span.bytes)
    withUnsafeBytes(of: sum.littleEndian) { bytes.replaceSubrange(start - 8..<start, with: $0) }
    try bytes.write(to: file)
    #expect(throws: LedgerError.self) { try contents() }
    // Of another ledger, whatever its version, nothing is taken.
    try #expect(Journal.contents(path: place.path(), ledger: 8).frames.isEmpty)
  }

  @Test func oneDamagedByteMakesNoOtherVersion() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let name = Journal.name(place.path(), 0)
    #expect(journal.append(EntryBatch(entries(1)), first: 1) == nil)
    let first = try Data(contentsOf: URL(fileURLWithPath: name))
    #expect(journal.append(EntryBatch(entries(2)), first: 5) == nil)
    let both = try Data(contentsOf: URL(fileURLWithPath: name))
    for (whole, rest) in [(first, []), (both, [5])] as [(Data, [UInt64])] {
      for bit in 0..<8 {
        var bytes = whole
        bytes[0] ^= 1 << UInt8(bit)
        try bytes.write(to: URL(fileURLWithPath: name))
        try #expect(contents().map(\.first) == rest)
        try #expect(damage() == [Journal.Damage(file: name, offset: 0, bytes: first.count)])
      }
    }
  }

  @Test func aFullDiskIsSaid() throws {
    // Every write to this device fails for want of room.
    try FileManager.default.createSymbolicLink(
      atPath: Journal.name(place.path(), 0), withDestinationPath: "/dev/full")
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(1)), first: 1)?.contains("No space left") == true)
    try #expect(contents().isEmpty)
  }
}
