// The names of classes, as policies and header fields write them.
import AdmissionCore
import TextForms

extension Priority {
  /// `high`, `normal` or `low` in any case, blanks around it ignored.
  public init?(name: String) {
    let text = ASCIIText.trimmed(name)
    for priority in Priority.allCases where ASCIIText.areEqual(text, priority.name) {
      self = priority
      return
    }
    return nil
  }
}
