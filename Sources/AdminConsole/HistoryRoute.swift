// stub
import BrokerEngine
import HTTPMessage

extension AdminConsole {
  func history(_ head: RequestHead, _ send: @escaping (Reply) -> Void) { send(.error(503, "not yet")) }
  func audit(_ head: RequestHead, _ send: @escaping (Reply) -> Void) { send(.error(503, "not yet")) }
}
