// The generator's reference outputs, and the ends of its ranges.
import AdmissionCore
import Testing

@Suite struct SeededRandomTests {
  /// The first outputs of the authors' SplitMix64 for seed 0.
  @Test func matchesItsReference() {
    var random = SeededRandom(seed: 0)
    let outputs = [random.next(), random.next(), random.next()]
    #expect(outputs == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F])
  }

  @Test func drawsLieInTheirRange() {
    var random = SeededRandom(seed: 1)
    var (highest, lowest): (Set<Int64>, Set<Int>) = ([], [])
    for _ in 0..<200 {
      highest.insert(random.upTo(2))
      lowest.insert(random.next(below: 3))
    }
    #expect(highest == [0, 1, 2] && lowest == [0, 1, 2])
    #expect((random.upTo(0), random.upTo(-1), random.upTo(.min)) == (0, 0, 0))
    #expect((random.next(below: 0), random.next(below: -1), random.next(below: 1)) == (0, 0, 0))
    #expect(random.upTo(.max) >= 0 && random.next(below: .max) >= 0)
  }

  /// What nobody may draw takes nothing from the sequence.
  @Test func emptyRangesDrawNothing() {
    var (one, other) = (SeededRandom(seed: 5), SeededRandom(seed: 5))
    _ = one.upTo(0)
    _ = one.next(below: 0)
    #expect(one.next() == other.next())
  }
}
