// Hands what libFuzzer makes up to one reader; built by scripts/fuzz alone. A flaw ends the process, so that libFuzzer keeps the bytes.
// Usage: fuzz TARGET [options and folders of libFuzzer]
import Foundation

/// The driver of libFuzzer without its own `main`.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

@main enum LibFuzzer {
  // Reason for unsafe: written once, before the driver runs.
  nonisolated(unsafe) private static var target = FuzzTarget.http1

  static func main() {
    guard CommandLine.arguments.count > 1, let target = FuzzTarget(rawValue: CommandLine.arguments[1]) else {
      let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
      FileHandle.standardError.write(Data("name what is to be fuzzed, one of: \(names)\n".utf8))
      exit(2)
    }
    self.target = target
    // The driver takes this program's name and its own options.
    var arguments = CommandLine.unsafeArgv
    arguments[1] = arguments[0]
    arguments += 1
    var count = CommandLine.argc - 1
    let result = runDriver(&count, &arguments) { start, length in
      let bytes = Array(UnsafeBufferPointer(start: start, count: length))
      if let flaw = LibFuzzer.target.flaw(in: bytes) { fatalError("\(LibFuzzer.target.rawValue): \(flaw)") }
      return 0
    }
    exit(result)
  }
}
