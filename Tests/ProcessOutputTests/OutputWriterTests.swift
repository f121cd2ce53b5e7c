// The writer of a standard stream against readers that stop, go away and come back, over real pipes and files.
import Foundation
import ProcessOutput
import Testing

@Suite struct OutputWriterTests {
  /// A pipe of the smallest size, 4 KiB, which both ends of a test share.
  private final class SmallPipe {
    let reading: Int32
    let writing: Int32
    private var isReadable = true

    init() throws {
      var ends: [Int32] = [0, 0]
      try #require(pipe(&ends) == 0)
      (reading, writing) = (ends[0], ends[1])
      try #require(fcntl(writing, 1031, 4096) == 4096, "F_SETPIPE_SZ")
    }
    deinit {
      if isReadable { close(reading) }
      close(writing)
    }

    func closeReader() {
      isReadable = false
      close(reading)
    }

    /// Reads until the text ends with `end`.
    func read(until end: String) throws -> String {
      var text: [UInt8] = []
      var chunk = [UInt8](repeating: 0, count: 4096)
      while !text.suffix(end.utf8.count).elementsEqual(end.utf8) {
        let count = Glibc.read(reading, &chunk, chunk.count)
        try #require(count > 0)
        text += chunk[..<count]
      }
      return String(decoding: text, as: UTF8.self)
    }
  }

  private func line(_ number: Int) -> [UInt8] { Array("line \(number) \(String(repeating: "x", count: 90))\n".utf8) }
  private var soon: DispatchTime { .now() + .seconds(20) }
  private var atOnce: DispatchTime { .now() + .milliseconds(1) }

  init() { StandardStream.prepare() }

  @Test func linesComeInOrderAndAreFlushed() throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing)
    for number in 0..<20 { writer.write(line(number)) }
    #expect(writer.flush(until: soon))
    let text = try pipe.read(until: String(decoding: line(19), as: UTF8.self))
    #expect(text == (0..<20).map { String(decoding: line($0), as: UTF8.self) }.joined())
    #expect(writer.dropped == 0)
  }

  @Test func aReaderThatDoesNotReadHoldsNobodyUpAndIsToldWhatItMissed() throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing, limit: 1000)
    // The pipe takes 4 KiB, the thread's hands and the queue a little more; the rest is lost.
    for number in 0..<1000 { writer.write(line(number)) }
    #expect(!writer.flush(until: atOnce))
    let dropped = writer.dropped
    #expect(dropped > 800 && dropped < 1000)
    // Everything that was taken comes, whole and in order, once it reads.
    var text = ""
    var wait = soon
    while !writer.flush(until: atOnce), wait > .now() {
      text += try pipe.read(until: "\n")
      wait = soon
    }
    writer.write(Array("the end\n".utf8))
    text += try pipe.read(until: "the end\n")
    let lines = text.split(separator: "\n")
    let numbers = lines.compactMap { $0.hasPrefix("line ") ? Int($0.split(separator: " ")[1]) : nil }
    #expect(numbers == numbers.sorted())
    #expect(numbers.count + writer.dropped == 1000)
    // Each gap is told in its place.
    var expected = 0
    var told = 0
    for line in lines.dropLast() {
      let words = line.split(separator: " ")
      let number = try #require(Int(words[1]))
      if line.hasPrefix("line ") {
        #expect(number == expected)
        expected += 1
      } else {
        #expect(line.contains(" lost before this"))
        expected += number
        told += number
      }
    }
    #expect(told == writer.dropped && expected == 1000)
  }

  @Test(arguments: [(100, 100, 0), (99, 100, 1), (101, 100, 0)])
  func aLineAtTheLimitFitsAndOneOverIsLost(limit: Int, length: Int, lost: Int) throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing, limit: limit)
    writer.write(Array(repeating: UInt8(ascii: "x"), count: length - 1) + [UInt8(ascii: "\n")])
    #expect(writer.flush(until: soon))
    #expect(writer.dropped == lost)
  }

  @Test func ofLinesHandedOverTogetherThoseThatFitAreKept() throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing, limit: 5)
    writer.write(Array("a\nb\nc\nd".utf8))
    #expect(writer.flush(until: soon))
    #expect(writer.dropped == 2)
    // Told although nothing comes after it.
    let text = try pipe.read(until: "written\n")
    #expect(text == "a\nb\ntollgate: 2 lines were lost before this: nobody read, or nothing could be written\n")
  }

  @Test func aReaderThatWentAwayIsCountedAndKnown() throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing)
    #expect(!writer.hasNoReader)
    pipe.closeReader()
    for number in 0..<3 {
      writer.write(line(number))
      #expect(writer.flush(until: soon))
    }
    #expect(writer.dropped == 3)
    #expect(writer.hasNoReader)
  }

  @Test(arguments: [Int32(-1), 9999])
  func aDescriptorThatIsNotOpenIsCounted(descriptor: Int32) {
    let writer = OutputWriter(descriptor: descriptor)
    writer.write(line(1) + line(2))
    #expect(writer.flush(until: soon))
    #expect(writer.dropped == 2)
    #expect(!writer.hasNoReader)
  }

  @Test func aFullDiskIsCounted() throws {
    let full = open("/dev/full", O_WRONLY)
    try #require(full >= 0)
    defer { close(full) }
    let writer = OutputWriter(descriptor: full)
    for number in 0..<5 { writer.write(line(number)) }
    #expect(writer.flush(until: soon))
    #expect(writer.dropped == 5)
    let ending = StandardStream.write([1], to: full)
    #expect(ending.written == 0 && ending.failure == ENOSPC && ending.reason == "No space left on device")
  }

  @Test func theFirstFailureIsToldOnce() throws {
    let full = open("/dev/full", O_WRONLY)
    try #require(full >= 0)
    defer { close(full) }
    let writer = OutputWriter(descriptor: full)
    let told = try SmallPipe()
    let errors = OutputWriter(descriptor: told.writing)
    writer.tellFailure { errors.write(Array(($0 + "\n").utf8)) }
    for number in 0..<3 {
      writer.write(line(number))
      #expect(writer.flush(until: soon))
    }
    errors.write(Array("the end\n".utf8))
    #expect(try told.read(until: "the end\n") == "No space left on device\nthe end\n")
  }

  @Test func aReaderThatWentAwayIsNoFailure() throws {
    let pipe = try SmallPipe()
    let writer = OutputWriter(descriptor: pipe.writing)
    let told = try SmallPipe()
    let errors = OutputWriter(descriptor: told.writing)
    writer.tellFailure { errors.write(Array(($0 + "\n").utf8)) }
    pipe.closeReader()
    writer.write(line(1))
    #expect(writer.flush(until: soon))
    errors.write(Array("the end\n".utf8))
    #expect(try writer.dropped == 1 && told.read(until: "the end\n") == "the end\n")
  }

  @Test func aStreamThatSomebodyMadeNonBlockingIsWaitedFor() throws {
    let pipe = try SmallPipe()
    try #require(fcntl(pipe.writing, F_SETFL, O_NONBLOCK) == 0)
    let writer = OutputWriter(descriptor: pipe.writing)
    for number in 0..<200 { writer.write(line(number)) }
    let text = try pipe.read(until: String(decoding: line(199), as: UTF8.self))
    #expect(text.split(separator: "\n").count == 200)
    #expect(writer.dropped == 0)
  }
}
