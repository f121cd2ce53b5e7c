// What attempts and requests of one caller have in common.
import AdmissionCore

/// Absent names are empty.
struct Series: Equatable {
  var tenant: String
  var clientKey: String
  var session: String
  var provider: String
  var key: String
  var model: String
  var priority: Priority
  var kind: String
  var agent: String
}
