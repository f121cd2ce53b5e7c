// The quantile comes out within its step; old calls fade; the ratio converges.
import Testing

@testable import AdmissionCore

@Suite struct OutputPredictorTests {
  @Test func stepsAreOrderedAndHoldTheirNumbers() {
    var last = -1
    for tokens in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 400, 511, 512, 4096, 100_000, 1 << 20] as [Int64] {
      let step = OutputPredictor.Output.step(TokenCount(tokens))
      #expect(step >= last)
      #expect(OutputPredictor.Output.upperEdge(step).value >= tokens || step == 83, "\(tokens)")
      #expect(tokens < 8 || OutputPredictor.Output.upperEdge(step).value <= tokens * 5 / 4 + 1)
      last = step
    }
  }

  @Test func guessesUntilItHasSeenEnough() {
    var predictor = OutputPredictor()
    #expect(predictor.expectedOutput(model: 1, band: 0) == 512)
    for _ in 0..<7 { predictor.learn(estimated: 100, counted: 100, output: 40, model: 1, band: 0) }
    #expect(predictor.expectedOutput(model: 1, band: 0) == 512)
    predictor.learn(estimated: 100, counted: 100, output: 40, model: 1, band: 0)
    #expect((40...50).contains(predictor.expectedOutput(model: 1, band: 0)))
    // A class without samples borrows the model's other classes; another model does not.
    #expect(predictor.expectedOutput(model: 1, band: 1) == predictor.expectedOutput(model: 1, band: 0))
    for _ in 0..<8 { predictor.learn(estimated: 100, counted: 100, output: 900, model: 1, band: 2) }
    #expect(predictor.expectedOutput(model: 1, band: 1) == predictor.expectedOutput(model: 1, band: 2))
    #expect((40...50).contains(predictor.expectedOutput(model: 1, band: 0)))
    #expect(predictor.expectedOutput(model: 2, band: 0) == 512)
  }

  @Test func theQuantileIsHighAndOldCallsFade() {
    var predictor = OutputPredictor()
    for number in Int64(0)..<1000 {
      predictor.learn(estimated: 0, counted: 0, output: number % 10 == 0 ? 8000 : 400, model: 1, band: 2)
    }
    #expect((400...500).contains(predictor.expectedOutput(model: 1, band: 2)))
    for _ in 0..<3000 { predictor.learn(estimated: 0, counted: 0, output: 3000, model: 1, band: 2) }
    #expect((3000...3750).contains(predictor.expectedOutput(model: 1, band: 2)))
  }

  /// The quantile's step is moved from where it was; here it is searched among all counts.
  @Test(arguments: [1, 2, 3] as [UInt64]) func theQuantileIsThatOfTheCounts(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var output = OutputPredictor.Output()
    var isRestored = false
    for number in 0..<3000 {
      let octave = Int64(random.upTo(number % 700 < 350 ? 6 : 20))
      output.learn(TokenCount(random.upTo(1 << octave)))
      let counts = output.numbers.map { Int($0) }
      let total = counts.reduce(0, +)
      var below = 0
      let step = counts.firstIndex { count in
        below += count
        return below * 100 >= total * 90
      }
      let expected = total < 8 ? nil : step.map { OutputPredictor.Output.upperEdge($0) }
      #expect(output.expectation == expected, "\(number)")
      if number == 1000 {
        output = try #require(OutputPredictor.Output(numbers: output.numbers))
        isRestored = true
      }
    }
    #expect(isRestored)
  }

  @Test func theRatioConverges() {
    var predictor = OutputPredictor()
    for _ in 0..<200 { predictor.learn(estimated: 1000, counted: 1300, output: nil, model: 3, band: 0) }
    #expect((1260...1300).contains(predictor.expectedInput(1000, model: 3)))
    #expect(predictor.expectedInput(1000, model: 4) == 1000)
  }
}
