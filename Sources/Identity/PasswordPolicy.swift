/// What a new password must be: 12 to 128 characters, not a common one (see ``CommonPasswords``), not the account's own address.
public enum PasswordPolicy {
  /// Unicode code points after composition to NFC: what somebody types with combining marks counts as what it looks like.
  public static let characterCountRange = 12...128

  /// Why a password is refused.
  public enum Violation: Error, Hashable, Sendable, CustomStringConvertible {
    case tooShort, tooLong, common, containsEmail, controlCharacters

    public var description: String {
      switch self {
      case .tooShort: "the password is shorter than \(characterCountRange.lowerBound) characters"
      case .tooLong: "the password is longer than \(characterCountRange.upperBound) characters"
      case .common: "the password is one of the common ones"
      case .containsEmail: "the password is the account's e-mail address or the name in it"
      case .controlCharacters: "the password has control characters"
      }
    }
  }

  public static func check(_ password: Password, for email: Email) throws(Violation) {
    let count = password.characterCount
    guard count >= characterCountRange.lowerBound else { throw .tooShort }
    guard count <= characterCountRange.upperBound else { throw .tooLong }
    guard password.bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { throw .controlCharacters }
    let plain = String(decoding: password.bytes, as: UTF8.self).lowercased()
    guard plain != email.value, plain != email.value.prefix(while: { $0 != "@" }) else { throw .containsEmail }
    guard !isCommon(plain) else { throw .common }
  }

  /// Beside the list: common passwords are short words with digits or repetition around them, and a list of the words
  /// (the seeded password among them) with the removal of what is put around catches far more.
  private static func isCommon(_ password: String) -> Bool {
    if Set(password).count <= 2 || CommonPasswords.contains(password) { return true }
    let sequences = [
      "01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm",
    ]
    if sequences.contains(where: { $0.contains(password) }) { return true }
    let letters = password.filter(\.isLetter)
    return commonWords.contains(password) || (commonWords.contains(letters) && password.count < letters.count + 6)
      || commonWords.contains { letters == $0 + $0 }
  }

  private static let commonWords: Set<String> = [
    "admin", "administrator", "adminadmin", "password", "passwort", "passw", "passwd", "pass", "pw", "letmein",
    "welcome", "qwerty", "qwertz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "iloveyou", "monkey", "dragon", "football",
    "baseball", "superman", "batman", "master", "sunshine", "princess", "shadow", "michael", "jordan", "trustno",
    "login", "access", "secret", "changeme", "default", "root", "toor", "user", "guest", "test", "testtest", "sluice",
    "firewall", "network", "computer", "internet", "starwars", "whatever", "hello", "abc", "qwe", "asd", "qazwsx",
    "qqww", "aa", "a", "q", "zaqxsw", "passwordpassword", "correcthorsebatterystaple",
  ]
}

/// The account that the first start creates. Its password stands outside the policy and must be changed before
/// anything else.
public enum SeededAdmin {
  public static let emailText = "admin@localhost.local"
  public static var email: Email {
    do { return try Email(emailText) } catch { preconditionFailure("the seeded address is valid") }
  }
  public static let password = Password("admin123")
  public static let name = "Administrator"
}
