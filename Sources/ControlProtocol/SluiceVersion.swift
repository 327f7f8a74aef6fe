/// The version of this build: what all three programs say of themselves.
public enum SluiceVersion {
  public static let current = "0.1.0"
}
