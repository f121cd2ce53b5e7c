// The journal: entries come back as they were, cut frames end the reading, files take turns, another ledger's entries stay out.
import AdmissionCore
import Foundation
import Testing

@testable import LedgerStore

@Suite struct JournalTests {
  private let place = Place()

  private static let changed = LedgerEntry.changed(
    LedgerChange(
      at: Scene.at(3), subject: .budget, name: "acme/day", state: "raised", reason: "Ünïcode", askedBy: "root",
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

  private func contents() throws -> [Journal.Frame] { try Journal.frames(path: place.path(), ledger: 7) }

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

  @Test func numbersOfEverySizeComeBack() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    let amounts: [Int64] = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, .max, .min]
    let some = amounts.map { amount in
      LedgerEntry.changed(
        LedgerChange(at: Scene.at(0), subject: .key, name: "", state: "s", amount: Money(nanodollars: amount)))
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
    }
    // And where a byte is another.
    for index in stride(from: whole, to: both.count, by: 3) {
      var bytes = both
      bytes[index] ^= 0x10
      try bytes.write(to: URL(fileURLWithPath: name))
      try #expect(contents().map(\.first) == [1], "changed at \(index)")
    }
  }

  @Test func anotherLedgersEntriesStayOut() throws {
    let other = try Journal(path: place.path(), ledger: 8)
    #expect(other.append(EntryBatch(entries(1)), first: 1) == nil)
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(2)), first: 5) == nil)
    try #expect(contents().map(\.first) == [5])
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
    try #expect(size(0) == 0 && size(1) > 0)
    try #expect(contents().map(\.first) == [firstFile + 1])
    journal.applied(through: number - 1)
    try #expect(size(1) == 0)
  }

  @Test func anotherVersionsEntriesAreNotLostInSilence() throws {
    let journal = try Journal(path: place.path(), ledger: 7)
    #expect(journal.append(EntryBatch(entries(1)), first: 1) == nil)
    let file = URL(fileURLWithPath: Journal.name(place.path(), 0))
    var bytes = try Data(contentsOf: file)
    bytes[0] = 0xA0 | (EntryCoding.version + 1)
    try bytes.write(to: file)
    let trouble = #expect(throws: LedgerError.self) { try contents() }
    #expect(trouble?.kind == .unusable)
    #expect(trouble?.description.contains("start that version once") == true)
    // Of another ledger, whatever its version, nothing is taken.
    try #expect(Journal.frames(path: place.path(), ledger: 8).isEmpty)
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
