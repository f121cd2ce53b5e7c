// This executable run again as a child, its standard output read on the event loop.
import EventLoop
import Foundation

/// A child that could not be started, or did not print the expected line.
struct ChildProcessError: Error, CustomStringConvertible {
  let description: String
}

final class ChildProcess {
  private let name: String
  private let process = Process()
  private let output = Pipe()
  private let errors: URL
  private var watch: DescriptorWatch?
  private var text = ""
  private var wanted: [String] = []
  private var then: ((Result<[String], ChildProcessError>) -> Void)?

  /// Starts `tollgate` with `arguments`; what it writes to standard error goes to a file in `folder`.
  init(loop: EventLoop, arguments: [String], environment: [String: String] = [:], folder: URL) throws {
    name = arguments.first ?? "tollgate"
    errors = folder.appendingPathComponent("\(name).log")
    guard let executable = Bundle.main.executableURL,
      FileManager.default.createFile(atPath: errors.path, contents: nil)
    else { throw ChildProcessError(description: "cannot start tollgate \(name): no executable or no temporary folder") }
    process.executableURL = executable
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    // Only the child writes to it.
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    watch = try DescriptorWatch(loop, descriptor: output.fileHandleForReading.fileDescriptor) { [weak self] _ in
      self?.read()
    }
    watch?.wait(for: .readable)
  }

  /// Calls `then` once with the first URL for each of `marks` (`listening on`, or the end of a line such as `(admin)`),
  /// in their order.
  func urls(onLinesWith marks: [String], _ then: @escaping (Result<[String], ChildProcessError>) -> Void) {
    wanted = marks
    self.then = then
    check()
  }

  /// Asks the child to end and waits until it has.
  func end() {
    watch?.close()
    watch = nil
    then = nil
    guard process.isRunning else { return }
    process.terminate()
    process.waitUntilExit()
  }

  private func read() {
    let data = output.fileHandleForReading.availableData
    guard !data.isEmpty else {
      watch?.close()
      watch = nil
      let said = (try? String(contentsOf: errors, encoding: .utf8)) ?? ""
      conclude(.failure(ChildProcessError(description: "tollgate \(name) ended too soon:\n\(said.suffix(2000))")))
      return
    }
    // Only the start lines matter; the rest is read so that the child never blocks on a full pipe.
    guard then != nil else { return }
    text += String(decoding: data, as: UTF8.self)
    check()
  }

  private func check() {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: true)
    var found: [String] = []
    for mark in wanted {
      guard let line = lines.first(where: { $0.contains(mark) && $0.contains("http") }),
        let url = line.split(separator: " ").first(where: { $0.hasPrefix("http") })
      else { return }
      found.append(url.hasSuffix("/") ? String(url.dropLast()) : String(url))
    }
    conclude(.success(found))
  }

  private func conclude(_ result: Result<[String], ChildProcessError>) {
    let then = self.then
    self.then = nil
    text = ""
    then?(result)
  }
}
