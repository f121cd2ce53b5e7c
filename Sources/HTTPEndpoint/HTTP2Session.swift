// Skeleton.
import HTTPMessage
final class HTTP2Session: Session {
  init(carrier: any SessionCarrier, server: HTTPServer, output: OutputQueue) {}
  var fate: SessionFate { .broken }
  var wantsInput: Bool { false }
  var wantsDirectInput: Bool { false }
  func receive(_ bytes: ArraySlice<UInt8>) {}
  func receiveDirectly(_ read: (UnsafeMutableRawBufferPointer) -> Int) {}
  func receivedEnd() {}
  func produce() {}
  func outputMoved() {}
  func connectionLost(_ ending: ExchangeEnding) {}
  func tick(now: UInt64) {}
  func drain() {}
}
