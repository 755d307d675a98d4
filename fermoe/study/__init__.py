"""How do runs become tables and a report?"""
